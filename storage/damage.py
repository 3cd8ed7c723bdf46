"""Damage that this process has found and no record says yet. Bounded in number and time.

When a process reads bytes twice and finds them damaged both times, it marks their record as
corrupt, and everybody sees that. Until the mark is written (the store may refuse writes, or too
many records were marked recently), and until all caches have forgotten the earlier state, at
least this process doesn't rely on those bytes: it never reports them as present, and no commit
discards its own bytes because of them.
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
"""The most digests that are remembered, some 2 MiB; the oldest finds are dropped first."""
REMEMBERED_FOR: Final = 3600.0
"""Seconds after which damage is forgotten: somebody may have restored the object by then."""


@dataclass(frozen=True, slots=True)
class _Found:
    data_key: str
    until: float
    marked: bool = False


class KnownDamage:
    """Digests whose bytes were found to be damaged. Safe for many threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begins with no known damage.

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
        """Notes that the record itself now says so; caches may still have its earlier state."""
        self._keep(record, marked=True)

    def _keep(self, record: Record, *, marked: bool) -> None:
        with self._lock:
            found = _Found(record.data_key, self._clock() + REMEMBERED_FOR, marked)
            self._found[record.digest] = found
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)

    def spoils(self, record: Record) -> bool:
        """Whether the bytes that a readable record names are known to be damaged.

        If a record was marked and is readable again, it has been healed, or its bytes were
        found to be intact.
        """
        found = self._of(record.digest)
        return found is not None and not found.marked and found.data_key == record.data_key

    def concerns(self, digest: Digest) -> bool:
        """Whether caches may be wrong about a digest."""
        return self._of(digest) is not None

    def _of(self, digest: Digest) -> _Found | None:
        with self._lock:
            found = self._found.get(digest)
            if found is not None and self._clock() >= found.until:
                del self._found[digest]
                return None
            return found

    def forget(self, record: Record) -> None:
        """Forgets what was found about a record's bytes."""
        with self._lock:
            found = self._found.get(record.digest)
            if found is not None and found.data_key == record.data_key:
                del self._found[record.digest]
