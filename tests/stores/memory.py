"""An object store in memory: fast enough for thousands of runs, and listed page by page."""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NoReturn

from holdfast.errors import DataLoss
from holdfast.request_counts import RequestCounts
from holdfast.storage.port import (
    LARGEST_WHOLE,
    Body,
    Condition,
    ConditionFailed,
    Entry,
    Fetched,
    IfAbsent,
    IfMatch,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    ObjectStore,
    Part,
    PendingUpload,
    TooLarge,
    Upload,
    Written,
    pieces,
)
from tests.stores.counting import CountingStore

START = 2_000_000_000.0
"""The time at which such a store begins, in seconds since 1970."""
SHORT_PAGE = 2
"""Entries on a page: few enough that even small listings have several pages."""


class MemoryStore(ObjectStore):
    """A store whose clock stands still until it is moved."""

    def __init__(self, time: float = START) -> None:
        self.time = time
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[Entry, bytes]] = {}
        self._uploads: dict[str, PendingUpload] = {}
        self._parts: dict[str, dict[int, tuple[Part, bytes]]] = {}

    def copy(self) -> MemoryStore:
        """Another store with the same content."""
        other = MemoryStore(self.time)
        kept = copy.deepcopy((self._objects, self._uploads, self._parts))
        other._objects, other._uploads, other._parts = kept
        return other

    def now(self) -> float:
        """The store's clock."""
        return self.time

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """See `ObjectStore`."""
        with self._lock:
            old = self._objects.get(key)
            if isinstance(condition, IfAbsent) and old is not None:
                raise ConditionFailed(key)
            if isinstance(condition, IfMatch) and (old is None or old[0].etag != condition.etag):
                raise ConditionFailed(key)
            return self._keep(key, body)

    def _keep(self, key: str, body: bytes) -> Written:
        etag = secrets.token_hex(8)
        self._objects[key] = (Entry(key, len(body), etag, self.time), body)
        return Written(etag, self.time)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """See `ObjectStore`."""
        entry, body = self._objects.get(key) or _absent(key)
        wanted = len(body) - offset if length is None else length
        if length is None and wanted > LARGEST_WHOLE:
            raise TooLarge(entry)
        found = body[offset : offset + wanted]
        if offset > len(body) or len(found) < wanted:
            raise DataLoss(f"{key} has {len(body)} bytes, and ends before the range does")
        return Fetched(entry, found, self.time)

    def head(self, key: str) -> Entry:
        """See `ObjectStore`."""
        return self.get(key, 0, 0).entry

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        self._objects.pop(key, None)

    def delete_if(self, key: str, etag: str) -> None:
        """See `ObjectStore`."""
        if key not in self._objects or self._objects[key][0].etag != etag:
            raise ConditionFailed(key)
        del self._objects[key]

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`. It lists everything at once; only the stepping store has pages."""
        found = sorted(key for key in self._objects if key.startswith(prefix))
        return iter([self._objects[key][0] for key in found if key > start_after])

    def create_upload(self, key: str) -> Upload:
        """See `ObjectStore`."""
        upload_id = secrets.token_hex(8)
        self._uploads[upload_id] = PendingUpload(key, upload_id, self.time)
        self._parts[upload_id] = {}
        return Upload(upload_id, self.time)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`."""
        del key
        self._uploads.pop(upload_id, None)
        self._parts.pop(upload_id, None)

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore`."""
        return iter([u for u in self._uploads.values() if u.key.startswith(prefix)])

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """See `ObjectStore`."""
        whole = b"".join(bytes(piece) for piece in pieces(body))
        part = Part(number, secrets.token_hex(8), len(whole), sums)
        self._upload(key, upload_id)[number] = (part, whole)
        return part

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`."""
        return [part for _, (part, _) in sorted(self._upload(key, upload_id).items())]

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """See `ObjectStore`."""
        there = self._upload(key, upload_id)
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise InvalidPart(f"{key}: parts {numbers}")
        for part in parts:
            if part.number not in there or there[part.number][0].etag != part.etag:
                raise InvalidPart(f"{key}: part {part.number}")
        body = b"".join(there[part.number][1] for part in parts)
        self.abort_upload(key, upload_id)
        return self._keep(key, body)

    def _upload(self, key: str, upload_id: str) -> dict[int, tuple[Part, bytes]]:
        if upload_id not in self._uploads:
            raise NoSuchUpload(key)
        return self._parts[upload_id]

    def refuses_changed(self, key: str) -> bool | None:
        """None: between a program and its memory nothing can change on the way."""
        del key
        return None

    def check_access(self) -> None:
        """See `ObjectStore`: the store always exists."""

    def close(self) -> None:
        """See `ObjectStore`: nothing is open."""

    @property
    def up(self) -> bool:
        return True

    @property
    def request_counts(self) -> RequestCounts:
        return RequestCounts()

    @property
    def switches(self) -> bool:
        return False

    def throttled(self) -> int:
        return 0

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """None: its ETags are random."""
        del parts
        return None

    def grow_old(self, prefixes: tuple[str, ...], seconds: float) -> None:
        """Makes objects older."""
        for key, (entry, body) in self._objects.items():
            if key.startswith(prefixes):
                older = replace(entry, last_modified=entry.last_modified - seconds)
                self._objects[key] = (older, body)


class SteppingStore(CountingStore):
    """Counts every page of a listing as a request, with its hooks."""

    def __init__(self, inner: ObjectStore, page: int = SHORT_PAGE) -> None:
        super().__init__(inner)
        self.page = page

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`; a page shows what is stored when that page is requested."""
        while True:
            self.calls.append(("list", prefix))
            self.before("list", prefix)
            entries = list(islice(self.inner.list(prefix, start_after), self.page))
            self.after("list", prefix)
            yield from entries
            if len(entries) < self.page:
                return
            start_after = entries[-1].key


def _absent(key: str) -> NoReturn:
    raise NoSuchKey(key)
