"""Bytes on their way in: sessions, parts, buffers, and commits that anybody can carry out.

May import holdings and process, storage and coordination; it knows no protobuf and no reader.
"""
