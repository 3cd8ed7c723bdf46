"""Since when nobody holds a blob: markers beside the records, by which collectors retain it.

    retained/<algorithm>/<hex>/<size>            a collector has found no hold
    retained/<algorithm>/<hex>/<size>.dropped    somebody asks not to retain it any longer

A marker has no bytes, and its time is its Last-Modified, by the store's own clock; its name has the
digest and the size of the blob. So a listing says all that there is to know. Nothing but the moment
from which a record may be condemned depends on a marker: if it is lost, the blob is retained anew,
and if it outlives its blob, the next collection removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

from holdfast.digests import Digest
from holdfast.errors import DataLoss, InvalidArgument
from holdfast.storage.keys import RETAINED, record_key
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.tenants import AFTER_SLASH

DROPPED: Final = ".dropped"


@dataclass(frozen=True, slots=True)
class RetentionMarker:
    """A marker, as a listing shows it.

    Attributes:
        digest: of the blob.
        size: bytes of the blob.
        at: when the marker was made, in s since 1970 by the store's clock.
        dropped: whether it asks not to retain the blob.
    """

    digest: Digest
    size: int
    at: float
    dropped: bool = False

    @property
    def key(self) -> str:
        """Where it is stored."""
        return f"{_prefix(self.digest)}{self.size}{DROPPED * self.dropped}"

    @property
    def record(self) -> str:
        """The key of the blob's record. Markers sort as the records do."""
        return record_key(self.digest)

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The marker that a listing shows.

        Raises:
            DataLoss: the entry's name isn't a marker's.
        """
        try:
            algorithm, digits, name = entry.key.removeprefix(RETAINED).split("/")
            digest = Digest(algorithm, digits)
            size = int(name.removesuffix(DROPPED))
        except (ValueError, InvalidArgument) as error:
            raise _stranger(entry.key) from error
        marker = cls(digest, size, entry.last_modified, name.endswith(DROPPED))
        if marker.key != entry.key:  # as +1, 01 or -1
            raise _stranger(entry.key)
        return marker


class Retained:
    """The markers in one store. Blocking; safe for many threads."""

    def __init__(self, store: ObjectStore) -> None:
        """Makes no requests yet."""
        self._store = store

    def all(self, after: Digest | None = None) -> Iterator[RetentionMarker]:
        """All markers of digests after `after`, in the order of their digests, page by page."""
        start = _prefix(after).removesuffix("/") + AFTER_SLASH if after else ""
        return _markers(self._store.list(RETAINED, start))

    def find(self, digest: Digest) -> list[RetentionMarker]:
        """The markers of a digest."""
        return list(_markers(self._store.list(_prefix(digest))))

    def renew(self, digest: Digest, size: int) -> None:
        """Has a blob of `size` bytes retained from now on, even if it was asked to be dropped."""
        for marker in self.find(digest):
            if marker.dropped:
                self._store.delete(marker.key)
        self._store.put(RetentionMarker(digest, size, 0.0).key, b"")

    def drop(self, marker: RetentionMarker) -> None:
        """Asks not to retain a blob any longer; the next collection acts on it."""
        self._store.put(replace(marker, dropped=True).key, b"")


def _markers(entries: Iterator[Entry]) -> Iterator[RetentionMarker]:
    for entry in entries:
        try:
            yield RetentionMarker.of(entry)
        except DataLoss:
            continue  # somebody else put it there; the collector counts it


def _stranger(key: str) -> DataLoss:
    return DataLoss(f"object {key} has a name that no marker has; remove it")


def _prefix(digest: Digest) -> str:
    return f"{RETAINED}{digest.algorithm}/{digest.hex}/"
