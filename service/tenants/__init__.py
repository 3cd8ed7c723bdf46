"""All tenants of a fleet: their names, what they hold, and which of them are gone.

This room may import the collector, core and all rooms below them.
"""
