"""All tenants of a fleet: who they are, what they hold, and who of them is gone.

May import the collector, core and all below them.
"""
