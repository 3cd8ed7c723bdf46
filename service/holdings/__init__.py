"""What tenants hold: looked up, listed, changed, compacted; and who of them is there.

May import process, storage and coordination.
"""
