"""Certificates: what is loaded, what is refused, and what happens when files change."""
