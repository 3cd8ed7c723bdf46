"""What tenants hold (looked up, listed, changed, compacted), and which tenants are there.

This room may import store, process, settings, storage and coordination.
"""
