"""The image: what is in it, and that it runs as the chart runs it."""
