"""The node agent: serves a node's socket through frontends, with no right to S3 or to Redis.

This room may import web, rpc, ingest, reading, process, settings, listeners, trust, storage and
transport. Of the store it knows what a record and a block are, and of an ingest its messages: it
makes no request to S3 or to Redis.
"""
