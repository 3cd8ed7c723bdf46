"""This version beside the last release: programs of both, on one store and one Redis."""
