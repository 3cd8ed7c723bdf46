"""The wire: the nine RPCs, their messages and status codes, and the gRPC servers.

This room may import overview, ingest, reading, holdings, process, settings, http_listener,
listeners, trust, coordination and transport.
"""
