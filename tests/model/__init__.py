"""An explicit-state model of the storage protocol, and tests that compare the code with it."""
