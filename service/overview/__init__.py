"""What the fleet's frontends are doing: each takes figures of itself, and announces them.

This room may import core, ingest, process and coordination; `rpc`, the HTTP port and the commands
that serve ask it.
"""
