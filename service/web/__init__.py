"""The HTTP port: probes, metrics, and what operators look at; a thread with a loop of its own.

This room may import whatever a frontend or an agent is made of. Neither RPCs nor their servers know
of it.
"""
