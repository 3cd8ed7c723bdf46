"""What the store has of one blob: its record, its data, its markers, and who holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat, because
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.doomed import Doomed
from holdfast.service.explain.facts import MarkerFacts, ObjectFacts, RecordFacts
from holdfast.service.explain.holders import BlobHolders, Holders
from holdfast.storage.keys import record_key
from holdfast.storage.port import Entry, NoSuchKey, ObjectStore
from holdfast.storage.records import Record, Records, Seen, block_count
from holdfast.storage.retained import Retained, RetentionMarker
from holdfast.storage.spool import Spools

DAMAGED: Final = "damaged"
UNSUPPORTED: Final = "unsupported"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What the store has of a blob.

    Attributes:
        record: its record, if there is one.
        data: what the record names, unless the record has the bytes itself.
        markers: of retention.
        holders: who holds it.
        entries: all of these objects, as they are listed.
    """

    record: RecordFacts | None
    data: ObjectFacts | None
    markers: tuple[MarkerFacts, ...]
    holders: BlobHolders
    entries: tuple[Entry, ...]


class BlobLook:
    """Looks at blobs of one store. Blocking."""

    def __init__(
        self, store: ObjectStore, ages: Ages, spools: Spools, pool: ThreadPoolExecutor
    ) -> None:
        """Makes no requests yet.

        Args:
            store: the store.
            ages: of the collector.
            spools: sort the list of what is doomed.
            pool: makes requests concurrently.
        """
        self._store = store
        self._ages = ages
        self._spools = spools
        self._holders = Holders(store, pool)

    def look(
        self,
        digest: Digest,
        tenants: Iterable[str] | None,
        most: int,
        looked: Callable[[int], None],
    ) -> StoredBlob:
        """Returns what there is of a digest; see `Holders.find` for the arguments.

        Raises:
            Unavailable: the store can't be reached.
        """
        record, read = self._record(digest)
        data, stored = self._data(read)
        markers = Retained(self._store).find(digest)
        holders = self._holders.find(digest, tenants, most, looked)
        objects = [entry for entry in (self._head(record_key(digest)), stored) if entry]
        marked = [_entry(marker) for marker in markers]
        return StoredBlob(
            record,
            data,
            tuple(map(self._marker, markers)),
            holders,
            (*objects, *marked, *holders.entries),
        )

    def doomed_since(self, key: str) -> float | None:
        """Returns when a data object was doomed; None if it isn't.

        Raises:
            DataLoss: the list of what is doomed is damaged.
            UnsupportedFormat: a newer version has written it.
        """
        for doom in Doomed(self._store, self._spools.new).newest(self._ages.landing):
            if doom.key == key:
                return doom.since
        return None

    def _record(self, digest: Digest) -> tuple[RecordFacts | None, Record | None]:
        try:
            seen = Records(self._store).read(digest)
        except UnsupportedFormat as error:
            return RecordFacts(UNSUPPORTED, error=because(error)), None
        if seen is None:
            return None, None
        if not seen.record.data_key:
            why = "its bytes don't match its checksum, or aren't a record's"
            return RecordFacts(DAMAGED, written_at=seen.last_modified, error=why), None
        return _facts(seen), seen.record

    def _data(self, record: Record | None) -> tuple[ObjectFacts | None, Entry | None]:
        if record is None:
            return None, None
        entry = self._head(record.data_key)
        if record.inline is not None and entry is None:
            return None, None
        return self.of_object(record.data_key, entry, record.size), entry

    def of_object(self, key: str, entry: Entry | None, expected: int | None) -> ObjectFacts:
        """Returns what is known of an object with bytes."""
        try:
            since = self.doomed_since(key)
        except (DataLoss, UnsupportedFormat):
            since = None  # a run begins its wait anew, and says so
        if entry is None:
            return ObjectFacts(key, there=False, expected=expected, doomed_since=since)
        return ObjectFacts(key, True, entry.size, expected, entry.last_modified, since)

    def _head(self, key: str) -> Entry | None:
        try:
            return self._store.head(key)
        except NoSuchKey:
            return None

    def _marker(self, marker: RetentionMarker) -> MarkerFacts:
        return MarkerFacts(
            marker.size, marker.at, marker.at + self._ages.retain, dropped=marker.dropped
        )


def _facts(seen: Seen) -> RecordFacts:
    record = seen.record
    return RecordFacts(
        record.state.value,
        size=record.size,
        created_at=record.created_at_ns / 1e9,
        written_at=seen.last_modified,
        data=record.data_key,
        inline=record.inline is not None,
        blocks=block_count(record.size),
    )


def _entry(marker: RetentionMarker) -> Entry:
    return Entry(marker.key, 0, "", marker.at)
