"""What runs have learnt of records, so that unchanged records aren't read again.

    collector/known/<algorithm>-<hex>    sealed lines about the records from that digest on

A listing has each record's ETag, and no two writes of a record have the same ETag. A record needn't
be read if its ETag is the known one, and two runs have read it under that ETag and found the same;
so a single misread record is never trusted. A line is sealed where its record was read, and copied
unchanged from then on. A damaged or lost line only costs a read.

The objects are pages of one sorted list. A page begins where it began in the last run, unless it
has grown too large or too small, so that a page whose records are unchanged isn't written again.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.errors import HoldfastError
from holdfast.service.collector.lines import sealed, unsealed
from holdfast.storage.keys import COLLECTOR, RECORDS
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Seen, State

PAGES: Final = f"{COLLECTOR}known/"
LINES: Final = 16_000
"""Most records on one page, which so stays below 4 MiB."""
BELIEVED: Final = 2
"""Runs that must have read a record under its ETag before what they found is trusted."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a collector learns by reading a record.

    Attributes:
        name: the record's name, `<algorithm>-<hex>`.
        etag: the ETag under which the record was read.
        state: the record's state.
        size: the size of the blob, in bytes.
        data_key: the data object that the record names.
        line: all of these, sealed.
        runs: how many runs have read the record with this result, 1 or 2.
    """

    name: str
    etag: str
    state: State
    size: int
    data_key: str
    line: bytes
    runs: int = 1

    @property
    def believed(self) -> bool:
        """Whether the record needn't be read again under its ETag."""
        return self.runs >= BELIEVED

    @classmethod
    def of(cls, key: str, seen: Seen) -> Known:
        """Returns what is known of a record that was just read."""
        record = seen.record
        name, data = name_of(key), record.data_key
        text = f"{name} {seen.etag} {record.state} {record.size} {data}"
        return cls(name, seen.etag, record.state, record.size, data, sealed(text))

    @classmethod
    def decode(cls, stored: bytes) -> Known | None:
        """Parses a line of a page; None if the line is damaged."""
        runs, _, line = stored.partition(b" ")
        text = unsealed(line)
        if text is None or runs not in {b"1", b"2"}:
            return None
        try:
            name, etag, state, size, data = text.split(" ")
            return cls(name, etag, State(state), int(size), data, line, int(runs))
        except ValueError:
            return None  # a newer version wrote it, or its ETag has a space in it

    def encode(self) -> bytes:
        """Returns the line for a page."""
        return b"%d %s" % (self.runs, self.line)


def name_of(key: str) -> str:
    """Returns the name that pages use for the record at `key`; names sort as keys do."""
    return key.removeprefix(RECORDS).replace("/", "-")


class Pages:
    """The pages of the last run, read one after the other; for keys in ascending order."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.names = [entry.key.removeprefix(PAGES) for entry in store.list(PAGES)]
        self.bodies: dict[str, bytes] = {}
        self._at = -1
        self._lines: dict[str, Known] = {}

    def find(self, key: str) -> Known | None:
        """Returns what the last runs knew of the record at `key`."""
        name = name_of(key)
        at = bisect_right(self.names, name) - 1
        if at > self._at:
            self._at = at
            self._lines = self._load(self.names[at])
        return self._lines.get(name)

    def _load(self, page: str) -> dict[str, Known]:
        try:
            body = self._store.get(PAGES + page).body
        except HoldfastError:
            return {}  # the page's records will be read
        self.bodies[page] = digest_of(body)
        decoded = map(Known.decode, body.split(b"\n"))
        return {known.name: known for known in decoded if known}


class Learnt:
    """The pages that this run writes; `add` must be called in the order of names."""

    def __init__(
        self, store: ObjectStore, before: Pages, failed: Callable[[Exception], None]
    ) -> None:
        """Writes nothing yet.

        Args:
            store: the store that has the pages.
            before: the pages that these replace.
            failed: called if a page can't be written; its records will be read again.
        """
        self._store = store
        self._before = before
        self._failed = failed
        self._page = ""
        self._lines: list[bytes] = []
        self._kept: set[str] = set()

    def add(self, known: Known) -> None:
        """Adds what is known of the next record."""
        names = self._before.names
        at = bisect_right(names, known.name) - 1
        begins = names[at] if at >= 0 else ""
        if not self._lines:
            self._page = max(begins or known.name, self._page)
        elif begins > self._page and len(self._lines) >= LINES // 4:
            self._write(begins)
        elif len(self._lines) >= LINES:
            self._write(known.name)
        self._lines.append(known.encode())

    def close(self) -> None:
        """Writes the last page, and removes pages that aren't needed any more."""
        if self._lines:
            self._write("")
        for page in self._before.names:
            if page not in self._kept:
                self._try(lambda page=page: self._store.delete(PAGES + page))  # type: ignore[misc]

    def _write(self, following: str) -> None:
        body = b"\n".join(self._lines)
        page = self._page
        if self._before.bodies.get(page) != digest_of(body):
            self._try(lambda: self._store.put(PAGES + page, body))
        self._kept.add(page)
        self._page, self._lines = following, []

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except HoldfastError as error:
            self._failed(error)


def digest_of(body: bytes) -> bytes:
    """Returns a hash by which to compare bodies."""
    return hashlib.blake2b(body, digest_size=16).digest()
