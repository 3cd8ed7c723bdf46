"""An explicit-state model of the storage protocol, and what holds the code to it."""
