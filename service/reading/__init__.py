"""Reads of committed bytes: records, verified blocks in memory and on disk, and damage.

This room may import holdings, store, process, storage and coordination. It knows nothing of
protobuf or of writers.
"""
