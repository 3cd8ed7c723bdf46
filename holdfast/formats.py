"""The versions of what programs of different releases share; docs/upgrades.md explains them."""

from __future__ import annotations

from typing import Final

STORAGE: Final = 2
"""The newest format of a document in the store that this version writes."""
INGEST: Final = 1
"""The newest layout of an ingest in Redis."""
PROTOCOL: Final = 1
"""What frontends and agents say to each other beyond containerd's API: raised with each addition to
`fleet.proto`, or to the fields, actions, metadata and trailers that are Holdfast's own."""
