"""Writes: sessions, parts and buffers, and commits that any process can finish.

This room may import holdings, store, process, storage and coordination. It knows nothing of
protobuf or of readers.
"""
