"""A collection of a store of which nobody holds anything, and all of it is retained and known.

Its objects are made up as they are asked for, so that a million blobs take no memory of this
process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from bench.capacity import formulas
from bench.capacity.counted import CountedStore
from bench.capacity.formulas import Size
from bench.capacity.passes import DAY, WEEK, Passed, collect, timed
from holdfast.digests import Digest
from holdfast.service.collector.known import BELIEVED, LINES, PAGES, Known, name_of
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.keys import DATA, RECORDS, RETAINED, data_key, record_digest, record_key
from holdfast.storage.port import Condition, Entry, Fetched, Written
from holdfast.storage.records import Record, Seen, State, block_count
from holdfast.storage.retained import RetentionMarker
from tests.stores.memory import START

LAYER: Final = 20 * 2**20
"""Bytes of each blob."""
OVER: Final = 1000
"""One blob of so many is beyond the bytes that may be retained."""
SCATTER: Final = 7919
"""A prime number: digests aren't in the order in which their blobs were given up."""


class RetainedStore(CountedStore):
    """Blobs without holds, all committed at the start and given up in the week after that."""

    def __init__(self, blobs: int) -> None:
        super().__init__()
        self.blobs = blobs
        self.time = START + WEEK

    @property
    def size(self) -> Size:
        """As the formulas take it."""
        blocks = block_count(LAYER) * self.blobs
        return Size(0, self.blobs, 0, self.blobs, blocks, retained=self.blobs)

    def listed(self, prefix: str) -> Iterable[Entry]:
        """Records, data, markers and pages are made up; what was written is as it is."""
        if prefix == PAGES:
            return [self._page(first) for first in range(0, self.blobs, LINES)]
        if prefix not in {RECORDS, DATA, RETAINED}:
            return super().listed(prefix)
        return self._made_up(prefix)

    def _page(self, first: int) -> Entry:
        name = name_of(record_key(_digest(first)))
        return Entry(PAGES + name, 0, "etag", START)

    def _made_up(self, prefix: str) -> Iterator[Entry]:
        for number in range(self.blobs):
            digest = _digest(number)
            if prefix == RETAINED:
                given_up = number * SCATTER % self.blobs / self.blobs
                marker = RetentionMarker(digest, LAYER, START + DAY + given_up * (WEEK - 2 * DAY))
                yield Entry(marker.key, 0, "etag", marker.at)
            elif prefix == DATA:
                yield Entry(data_key(f"{number:032x}"), LAYER, "etag", START)
            else:
                written = self._objects.get(record_key(digest))
                yield written[0] if written else Entry(record_key(digest), 300, "etag", START)

    def fetched(self, key: str, offset: int, length: int | None) -> Fetched:
        """Records and pages are made up, unless they were written."""
        if not key.startswith((RECORDS, PAGES)) or key in self._objects:
            return super().fetched(key, offset, length)
        body = self._record(key).encode() if key.startswith(RECORDS) else self._lines(key)
        return Fetched(Entry(key, len(body), "etag", START), body, self.time)

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """As the port says; a record that is made up is there to be replaced."""
        if key.startswith(RECORDS) and key not in self._objects:
            found = self.fetched(key, 0, None)
            self._objects[key] = (found.entry, found.body)
        return super().put(key, body, condition)

    def _lines(self, page: str) -> bytes:
        """What two runs have learnt of the records on a page."""
        first = int(page.rpartition("-")[2], 16)
        keys = (record_key(_digest(n)) for n in range(first, min(first + LINES, self.blobs)))
        seen = ((key, Seen(self._record(key), "etag", START)) for key in keys)
        known = (Known.of(key, one) for key, one in seen)
        return b"\n".join(replace(one, runs=BELIEVED).encode() for one in known)

    def _record(self, key: str) -> Record:
        digest = record_digest(key)
        return Record(
            digest=digest,
            state=State.LIVE,
            size=LAYER,
            created_at_ns=int(START * 1e9),
            data_key=data_key(digest.hex[32:]),
            block_sums=bytes(4 * block_count(LAYER)),
            nonce="0" * 32,
        )


def retaining(blobs: int) -> Passed:
    """A run that sorts what is retained by age and condemns the oldest, when all is known.

    Raises:
        AssertionError: another number of blobs was condemned than are beyond the bytes.
    """
    store = RetainedStore(blobs)
    over = blobs // OVER
    expected = formulas.condemning(store.size, over)

    def work() -> None:
        report = collect(store, retain_bytes=LAYER * (blobs - over))
        assert report.count(CollectedKind.RECORDS, Fate.CONDEMNED) == over

    return timed(f"gc, {blobs:,} retained", store, work, expected)


def _digest(number: int) -> Digest:
    return Digest("sha256", f"{number:064x}")
