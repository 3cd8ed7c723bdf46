"""Redis: leases on refs, the progress of ingests, and the cache of what each tenant holds.

Every change is a Lua script in `lua/`. Nothing here is the only copy of a committed blob.
This room may import redis-py and the modules that all rooms share, but not storage or service.
"""
