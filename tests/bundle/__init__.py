"""The bundle that nodes get: `make bundle`."""
