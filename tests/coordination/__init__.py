"""Leases, ingests and the cache of holds, against real Redis servers."""
