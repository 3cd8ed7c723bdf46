"""Reads of committed bytes: records, verified blocks in memory and on disk, and damage.

This room may import holdings, process, storage and coordination. It knows nothing of protobuf
or of writers.
"""
