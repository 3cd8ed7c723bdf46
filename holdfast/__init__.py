"""Holdfast: a content store for a fleet, and its client."""
