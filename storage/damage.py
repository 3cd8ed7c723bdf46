"""Damage that this process has found and that no record says yet. Bounded, and for a while.

Whoever finds bytes damaged twice marks their record as corrupt, and everybody goes by that.
Until the mark stands (the store may take no writes, or too much was marked lately), and until
all caches have forgotten what they said before, this process at least doesn't go by those
bytes: nobody is told that they are there, and no commit gives up its own bytes for them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.digests import Digest
from holdfast.storage.records import Record

REMEMBERED: Final = 4096
"""Digests that are remembered at most, some 2 MiB: those found first go first."""
REMEMBERED_FOR: Final = 3600.0
"""Seconds after which damage must be found again: somebody may have restored the object."""


@dataclass(frozen=True, slots=True)
class _Found:
    data_key: str
    until: float
    marked: bool = False


class KnownDamage:
    """Digests whose bytes were found to be damaged. Safe for many threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Knows of nothing yet.

        Args:
            clock: monotonic, in s.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._found: OrderedDict[Digest, _Found] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def note(self, record: Record) -> None:
        """Remembers that the bytes which a record names are damaged."""
        self._keep(record, marked=False)

    def marked(self, record: Record) -> None:
        """The record itself says so now; caches may still say what they said before."""
        self._keep(record, marked=True)

    def _keep(self, record: Record, *, marked: bool) -> None:
        with self._lock:
            found = _Found(record.data_key, self._clock() + REMEMBERED_FOR, marked)
            self._found[record.digest] = found
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)

    def spoils(self, record: Record) -> bool:
        """Whether the bytes that a readable record names are known to be damaged.

        A record that was marked and is readable again has been healed, or its bytes were
        found to be good.
        """
        found = self._of(record.digest)
        return found is not None and not found.marked and found.data_key == record.data_key

    def concerns(self, digest: Digest) -> bool:
        """Whether what caches say of a digest mustn't be believed."""
        return self._of(digest) is not None

    def _of(self, digest: Digest) -> _Found | None:
        with self._lock:
            found = self._found.get(digest)
            if found is not None and self._clock() >= found.until:
                del self._found[digest]
                return None
            return found

    def forget(self, record: Record) -> None:
        """What was found of a record's bytes is of no use any more."""
        with self._lock:
            found = self._found.get(record.digest)
            if found is not None and found.data_key == record.data_key:
                del self._found[record.digest]
