"""Parts that any process needs: threads, background work, permits, metrics, logs, signals.

This room may import settings, listeners, trust, storage and transport.
"""
