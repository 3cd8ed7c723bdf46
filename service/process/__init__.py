"""What any process needs: threads, background work, permits, metrics, logs, signals.

May import nothing of service but settings.
"""
