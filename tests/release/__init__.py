"""A release: its version, its changelog, its parts."""
