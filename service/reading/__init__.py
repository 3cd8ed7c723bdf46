"""Reads of committed bytes: records, verified blocks in memory and on disk, and damage.

This room may import store, process, settings, storage and coordination. It knows nothing of
protobuf or of writers.
"""
