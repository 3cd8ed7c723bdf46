"""Committed bytes on their way out: records, verified blocks in memory and on disk, damage.

May import holdings and process, and storage; it knows no protobuf and no writer.
"""
