"""A fleet as a state machine: what may happen to it, and what must be true then."""
