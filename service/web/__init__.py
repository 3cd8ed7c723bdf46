"""The HTTP port: probes, metrics, and what operators look at; a thread with a loop of its own.

This room may import rpc, overview, ingest, process, http_listener, listeners, trust, coordination
and transport. Neither RPCs nor their servers know of it.
"""
