"""Snapshots of what tenants hold, so that a List of many holds needn't fetch each of them.

    snapshots/<tenant>/<uuid7>/<n>         a chunk: holds in order of their keys, packed
    snapshots/<tenant>/<uuid7>/complete    where each chunk begins; a snapshot needs it to count

A snapshot is a cache by ETag, like `storage.kept_holds`: a List asks the store for the current
keys and ETags, and looks up the bodies that match both. So a snapshot may be of any age, and if a
part of it is damaged, absent or out of date, that costs fetches and nothing else.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import crc32c

from holdfast.errors import DataLoss, HoldfastError
from holdfast.storage import documents
from holdfast.storage.holds import StoredHold
from holdfast.storage.keys import NewName, name_after, snapshot_prefix, tenant_prefix, uuid7
from holdfast.storage.port import Entry, NoSuchKey, ObjectStore

FORMAT: Final = 2
COMPLETE: Final = "complete"
CHUNK: Final = 2 * 2**20
"""Bytes of a chunk's lines before packing: some 3,500 holds, which are a third as large packed."""
LARGEST: Final = 64 * 2**20
"""Bytes of a chunk's lines at most: a hold with all the labels that it may have. If somebody packed
more, it was to fill our memory."""
LEVEL: Final = 1
"""The zlib level: most of a hold is random digits, which no level packs better."""
ATTEMPTS: Final = 3
"""How often the newest snapshot is looked for while others replace it."""
_SUM: Final = 8
"""Bytes of a chunk's sum: the CRC32C of all that follows it, in hexadecimal digits."""

Lines = Mapping[str, tuple[str, bytes]]
"""A chunk: the ETag and the body of each hold, by its key below the tenant's prefix."""


class Snapshot:
    """One snapshot, read chunk by chunk as holds are looked up in the order of their keys.

    Only one chunk is in memory at a time. Blocking; for one thread at a time.
    """

    def __init__(self, store: ObjectStore, tenant: str, name: str, begins: Sequence[str]) -> None:
        """Reads nothing yet.

        Args:
            store: where it is.
            tenant: whose holds it has.
            name: of the snapshot.
            begins: the first key of each chunk, below the tenant's prefix.
        """
        self._store = store
        self._tenant = tenant
        self._name = name
        self._begins = begins
        self._at = -1
        self._lines: Lines = {}

    def body(self, entry: Entry) -> bytes | None:
        """The body of a listed hold, if the snapshot has it under the listed ETag."""
        key = entry.key.removeprefix(tenant_prefix(self._tenant))
        at = bisect_right(self._begins, key) - 1
        if at < 0:
            return None
        if at != self._at:
            self._at, self._lines = at, self._load(at)
        etag, body = self._lines.get(key, ("", b""))
        return body if body and etag == entry.etag else None

    def _load(self, number: int) -> Lines:
        try:
            chunk = _chunk(self._tenant, self._name, number)
            return documents.read(self._store, chunk, unpacked)[0]
        except HoldfastError:
            return {}  # its holds are fetched


class SnapshotWriter:
    """A snapshot that is being written; it is used only once it is finished. Blocking."""

    def __init__(
        self, store: ObjectStore, tenant: str, name: str, nonce: str, chunk: int = CHUNK
    ) -> None:
        """Writes nothing yet.

        Args:
            store: where it is written.
            tenant: whose holds it has.
            name: of the snapshot; the caller ensures that it sorts after all others.
            nonce: of this writing.
            chunk: bytes of a chunk's lines, unless a single hold has more.
        """
        self._store = store
        self._tenant = tenant
        self._name = name
        self._nonce = nonce
        self._chunk = chunk
        self._begins: list[str] = []
        self._lines: list[bytes] = []
        self._size = 0
        self._holds = 0

    def add(self, found: Iterable[StoredHold]) -> None:
        """Adds the next holds, in the order of their keys.

        Raises:
            HoldfastError: the store fails.
        """
        for named in found:
            key = named.key.removeprefix(tenant_prefix(self._tenant))
            line = b"%s %s %s" % (key.encode(), named.etag.encode(), named.hold.encode())
            if line.count(b"\n") or " " in key + named.etag:
                continue  # another store's ETag; the hold is fetched
            if self._lines and self._size + len(line) > self._chunk:
                self._put()
            if not self._lines:
                self._begins.append(key)
            self._lines.append(line)
            self._size += len(line) + 1
            self._holds += 1

    def finish(self) -> None:
        """Writes what is left, completes the snapshot, and removes all earlier ones.

        Raises:
            HoldfastError: the store fails.
        """
        if self._lines:
            self._put()
        document = {
            "format": FORMAT,
            "begins": self._begins,
            "holds": self._holds,
            "nonce": self._nonce,
        }
        complete = f"{_prefix(self._tenant, self._name)}{COMPLETE}"
        self._store.put(complete, documents.encode(document))
        for entry in list(self._store.list(snapshot_prefix(self._tenant))):
            if "" < name_of(entry) < self._name:
                self._store.delete(entry.key)

    def give_up(self) -> None:
        """Removes what was written; the collector removes anything that stays.

        Raises:
            HoldfastError: the store fails.
        """
        for entry in list(self._store.list(_prefix(self._tenant, self._name))):
            self._store.delete(entry.key)

    def _put(self) -> None:
        number = len(self._begins) - 1
        self._store.put(_chunk(self._tenant, self._name, number), packed(self._lines))
        self._lines, self._size = [], 0


class Snapshots:
    """The snapshots in one store. Blocking; safe for many threads."""

    def __init__(self, store: ObjectStore, new_nonce: NewName, chunk: int = CHUNK) -> None:
        """Makes no requests yet.

        Args:
            store: where they are.
            new_nonce: makes the nonces of what is written.
            chunk: bytes of a chunk's lines.
        """
        self._store = store
        self._new_nonce = new_nonce
        self._chunk = chunk

    def newest(self, tenant: str) -> Snapshot | None:
        """The newest complete snapshot of a tenant's holds; None if none can be read."""
        try:
            for _ in range(ATTEMPTS):
                name = newest_of(self._store.list(snapshot_prefix(tenant)))
                if name is None:
                    return None
                complete = f"{_prefix(tenant, name)}{COMPLETE}"
                try:
                    begins, _ = documents.read(self._store, complete, _begins)
                except NoSuchKey:
                    continue  # a newer one has replaced it
                return Snapshot(self._store, tenant, name, begins)
        except HoldfastError:
            pass
        return None

    def begin(self, tenant: str) -> SnapshotWriter:
        """Begins a snapshot that will be the newest, whichever clocks made the others' names.

        Raises:
            HoldfastError: the store can't be listed.
        """
        names = map(name_of, self._store.list(snapshot_prefix(tenant)))
        last = max(names, default="")
        name = name_after(last) if last else uuid7()
        return SnapshotWriter(self._store, tenant, name, self._new_nonce(), self._chunk)

    def remove(self, tenant: str) -> None:
        """Removes all snapshots of a tenant that has no holds any more.

        Raises:
            HoldfastError: the store fails.
        """
        for entry in list(self._store.list(snapshot_prefix(tenant))):
            self._store.delete(entry.key)


def name_of(entry: Entry) -> str:
    """The name of the snapshot that an object belongs to; "" if its key isn't a snapshot's."""
    parts = entry.key.split("/")
    return parts[2] if len(parts) == 4 else ""  # noqa: PLR2004 -- snapshots/<tenant>/<name>/<n>


def newest_of(entries: Iterable[Entry]) -> str | None:
    """The name of the newest complete snapshot among one tenant's objects."""
    ends = (entry for entry in entries if entry.key.endswith(f"/{COMPLETE}"))
    return max(filter(None, map(name_of, ends)), default=None)


def packed(lines: Sequence[bytes]) -> bytes:
    """A chunk as it is stored."""
    body = zlib.compress(b"\n".join(lines), LEVEL)
    return b"%08x" % crc32c.crc32c(body) + body


def unpacked(key: str, stored: bytes) -> Lines:
    """Reads a chunk.

    Raises:
        DataLoss: it is damaged.
    """
    head, body = stored[:_SUM], stored[_SUM:]
    if head != b"%08x" % crc32c.crc32c(body):
        raise DataLoss(f"object {key} is damaged: its bytes don't match the sum before them")
    try:
        lines = [line.split(b" ", 2) for line in _unzipped(body).split(b"\n")]
        return {name.decode(): (etag.decode(), hold) for name, etag, hold in lines}
    except (zlib.error, ValueError) as error:
        raise DataLoss(f"object {key} is damaged: it isn't a chunk of a snapshot") from error


def _unzipped(body: bytes) -> bytes:
    stream = zlib.decompressobj()
    unzipped = stream.decompress(body, LARGEST)
    if not stream.eof:
        raise ValueError("it is cut off, or too large")
    return unzipped


def _begins(key: str, body: bytes) -> Sequence[str]:
    begins = documents.field(key, documents.decode(key, body, FORMAT), "begins", list)
    if not all(isinstance(name, str) for name in begins):
        raise DataLoss(f"object {key} is damaged: its chunks have no first keys")
    return tuple(begins)


def _prefix(tenant: str, name: str) -> str:
    return f"{snapshot_prefix(tenant)}{name}/"


def _chunk(tenant: str, name: str, number: int) -> str:
    return f"{_prefix(tenant, name)}{number:06}"
