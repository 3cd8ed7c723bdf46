"""The scrub: reads what the store holds, says what is damaged, and quarantines it.

Any number may run at once, and each may die at any request. It writes records only
by compare-and-swap from live or condemned to corrupt, and deletes nothing but its
own cursor. What it looks for, and why its verdicts are safe, is in docs/scrub.md.

May import backends and all below it; it needs no core.
"""
