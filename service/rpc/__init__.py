"""What clients speak to: the nine RPCs, their messages and status codes, and the gRPC servers.

May import every room that serves them (ingest, reading, holdings, process); no program imports
more of it than its servers.
"""
