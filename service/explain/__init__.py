"""All that is known of one blob or one ref, for people who ask why; nothing is changed.

This room may import collector, core, backends, ingest, process, settings, storage and coordination.
The collector's own code says what its next run would do. Only `commands` uses this room.
"""
