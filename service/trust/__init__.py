"""Who is at the other end, and how a listener shows who it is: certificates, and what they say.

Everything in service may use this room; it may import nothing of service.
"""
