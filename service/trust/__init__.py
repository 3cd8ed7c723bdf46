"""Who is at the other end, what it may do, and how a listener shows who it is.

Everything in service may use this room. This room may import transport, and no other room.
"""
