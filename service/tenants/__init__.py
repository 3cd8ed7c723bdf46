"""All tenants of a fleet: their names, what they hold, and which of them are gone.

This room may import collector, backends, holdings, store, process, settings and storage.
"""
