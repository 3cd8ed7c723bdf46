"""The commands that `holdfast[server]` adds to the command line.

This room may import serve, doctor, agent, tenants, explain, collector, scrub, overview, backends,
holdings, process, settings, trust, storage and coordination; nothing imports it.
"""
