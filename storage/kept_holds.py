"""Holds kept in memory under their ETags, so that a listing needn't fetch what hasn't changed.

A listing names each hold's ETag, every write of a hold has a nonce of its own, and a
name is never used twice: what has the key and the ETag is the hold that stands there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from storage.port import Entry

OVERHEAD: Final = 400
"""Bytes that an entry takes beside its key and its body, measured with CPython 3.11."""


class KeptHolds:
    """Bodies of holds with a byte budget; least recently used go first. Safe for many threads."""

    def __init__(self, budget: int) -> None:
        """Keeps nothing yet.

        Args:
            budget: bytes that all entries may take; 0: nothing is kept.
        """
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes taken."""
        return self._size

    def get(self, entry: Entry) -> bytes | None:
        """The body of a listed hold, if it is still the one that was kept."""
        with self._lock:
            found = self._kept.get(entry.key)
            if found is None or found[0] != entry.etag:
                return None
            self._kept.move_to_end(entry.key)
            return found[1]

    def put(self, key: str, etag: str, body: bytes) -> None:
        """Keeps a body; others make room for it."""
        weight = _weight(key, body)
        if weight > self._budget:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = (etag, body)
            self._size += weight
            while self._size > self._budget:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        if found := self._kept.pop(key, None):
            self._size -= _weight(key, found[1])


def _weight(key: str, body: bytes) -> int:
    return OVERHEAD + len(key) + len(body)
