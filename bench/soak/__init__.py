"""A soak: a small fleet under load and faults, and somebody who knows what was acknowledged."""
