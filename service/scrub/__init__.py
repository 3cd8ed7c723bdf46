"""The scrub: reads what the store has, reports what is damaged, and quarantines it.

Any number of scrubs may run concurrently, and each may die at any request. A scrub changes records
only by compare-and-swap: from live or condemned to corrupt, or back to live if all bytes are good.
It deletes nothing but its own cursor. docs/scrub.md explains what it looks for, and why its
verdicts are safe.

This room may import backends, store, process, settings, storage and coordination; it needs no core.
"""
