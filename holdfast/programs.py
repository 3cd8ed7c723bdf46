"""The kinds of programs that use a store and its Redis: each kind has rights of its own."""

from __future__ import annotations

from enum import StrEnum


class Program(StrEnum):
    """A kind of program, by what it needs of the backends.

    The S3 rights of each are in `storage.rights`, its Redis rights in `coordination.rights`.
    """

    FRONTEND = "frontend"
    """`holdfast serve`."""
    COLLECTOR = "collector"
    """`holdfast gc`, the only one that deletes data and records."""
    SCRUB = "scrub"
    """`holdfast scrub`, which deletes none of them either."""
    ADMIN = "admin"
    """`holdfast doctor`, `tenants` and `retained`: what people run, and the expiry of tenants."""
