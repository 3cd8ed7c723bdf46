"""The node agent: serves a node's socket through frontends, with no right to S3 or to Redis.

This room may import rpc, reading, process, settings and listeners. It knows nothing of the store's
requests, of Redis, or of how an ingest is kept.
"""
