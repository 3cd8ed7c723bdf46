"""The wire: the nine RPCs, their messages and status codes, and the gRPC servers.

This room may import every room that serves the RPCs (ingest, reading, holdings, process).
"""
