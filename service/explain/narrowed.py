"""A store in which there is nothing but what concerns one blob, and which can't be changed.

The collector's own passes rehearse on it: what they say of the only record is what a run over the
whole store would say. Only what a run compares with its last one, to brake, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from holdfast.service.collector.census import KEY as CENSUS
from holdfast.storage.keys import COLLECTOR
from holdfast.storage.port import Entry, Fetched, NoSuchKey, ObjectStore, PendingUpload
from holdfast.storage.read_only import ReadOnlyStore

WHOLE: Final = COLLECTOR
"""What a run reads of the runs before it is there as it is: the passes look up what they need."""


class NarrowedStore(ReadOnlyStore):
    """Some of a store's objects, as they were listed; their bytes are read when they are needed."""

    def __init__(self, inner: ObjectStore, entries: Iterable[Entry]) -> None:
        """Makes no requests yet.

        Args:
            inner: the store.
            entries: the objects that there are.
        """
        super().__init__(inner)
        self._entries = sorted(entries, key=lambda entry: entry.key.encode())

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`."""
        if prefix.startswith(WHOLE):
            found = super().list(prefix, start_after)
            return (entry for entry in found if entry.key != CENSUS)
        return (
            entry
            for entry in self._entries
            if entry.key.startswith(prefix) and entry.key > start_after
        )

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """None: they are no blob's."""
        del prefix
        return iter(())

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """See `ObjectStore`."""
        if key == CENSUS:
            raise NoSuchKey(f"{key} is of all blobs, and not looked at")
        return super().get(key, offset, length)
