"""The collector: finds what nobody holds or remembers any more, and removes it.

Any number may run at once, and each may die at any request: all progress is in the
records' own states, changed by compare-and-swap, and each run begins from what it
finds. The order of the passes is docs/collector.md's; it is what makes them safe.

May import core and all below it; `tenants` imports it, and commands.
"""
