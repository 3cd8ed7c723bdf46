"""What the fleet's frontends are doing: each takes figures of itself, and announces them.

This room may import the core, and all rooms below it; `rpc` and the HTTP port ask it.
"""
