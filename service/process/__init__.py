"""Parts that any process needs: threads, background work, permits, metrics, logs, signals.

This room may import nothing of service but settings, listeners and trust.
"""
