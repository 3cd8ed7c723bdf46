"""All that is known of one blob or one ref, for people who ask why; nothing is changed.

This room may import the collector, whose own code says what its next run would do, the core, and
all rooms below them; only `commands` imports it.
"""
