"""The object store as the loop asks it."""
