"""Holds kept in memory under their ETags, so that a listing fetches only what has changed.

A listing reports each hold's ETag, every write of a hold has a nonce of its own, and a name is
never used twice. So a kept body is current if its key and its ETag are those of the listing.

Listings read all holds in the same order, again and again, so the entry used longest ago is the
one needed next. If that one were evicted, a cache that is slightly too small would never have a
hit. So the entry to evict is chosen at random.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.storage.port import Entry

OVERHEAD: Final = 400
"""Bytes that an entry takes besides its key and its body, measured with CPython 3.11."""


@dataclass(slots=True)
class _Kept:
    etag: str
    body: bytes
    place: int


class KeptHolds:
    """Bodies of holds within a byte budget; evicts at random. Safe for many threads."""

    def __init__(self, budget: int, choose: Callable[[int], int] = random.randrange) -> None:
        """Begins empty.

        Args:
            budget: bytes that all entries may take; 0: nothing is kept.
            choose: a random number below its argument: which entry is evicted.
        """
        self._budget = budget
        self._lock = threading.Lock()
        self._choose = choose
        self._kept: dict[str, _Kept] = {}
        self._keys: list[str] = []
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._size

    def get(self, entry: Entry) -> bytes | None:
        """The body of a listed hold, if it hasn't changed since it was kept."""
        with self._lock:
            found = self._kept.get(entry.key)
            return found.body if found and found.etag == entry.etag else None

    def put(self, key: str, etag: str, body: bytes) -> None:
        """Keeps a body; evicts others until it fits."""
        weight = _weight(key, body)
        if weight > self._budget:
            return
        with self._lock:
            self._drop(key)
            while self._size + weight > self._budget:
                self._drop(self._keys[self._choose(len(self._keys))])
            self._kept[key] = _Kept(etag, body, len(self._keys))
            self._keys.append(key)
            self._size += weight

    def _drop(self, key: str) -> None:
        found = self._kept.pop(key, None)
        if found is None:
            return
        self._size -= _weight(key, found.body)
        last = self._keys.pop()
        if last != key:
            self._keys[found.place] = last
            self._kept[last].place = found.place


def _weight(key: str, body: bytes) -> int:
    return OVERHEAD + len(key) + len(body)
