"""Room that is kept occupied, so that a full store can be emptied by Holdfast itself.

    room for all      fleet/reserve-0 … fleet/reserve-3 are there, of random bytes
    a small write finds the store full (a mark, a record that changes, a run's notes)
                      one piece goes, and the write is sent again
    a piece is absent and there is no room for it
                      no new bytes are taken, so that they don't eat what was freed

Delete and gc write before they free anything: empty marks, tombstones, lists. What brings
new bytes (data, parts, tails, snapshots, new holds and records) never takes from the reserve.
Several pieces, because it takes others a while to notice that one is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from holdfast.errors import ResourceExhausted
from holdfast.storage.keys import DATA, FLEET, HOLDS, RECORDS, SNAPSHOTS, TAILS
from holdfast.storage.port import (
    Body,
    Condition,
    Entry,
    Fetched,
    IfAbsent,
    ObjectStore,
    Part,
    PendingUpload,
    Upload,
    Written,
)

PREFIX: Final = f"{FLEET}reserve-"
PIECES: Final = 4

Result = TypeVar("Result")
Bytes = Callable[[int], bytes]
"""Makes so many random bytes: equal ones take no room on some disks."""


class Reserve:
    """The reserve of one store. Blocking; safe for many threads and processes."""

    def __init__(self, store: ObjectStore, size: int, new_bytes: Bytes) -> None:
        """Nothing is asked of the store yet.

        Args:
            store: where it is.
            size: bytes in all; 0: there is none.
            new_bytes: makes its content.
        """
        self._store = store
        self._size = size
        self._new_bytes = new_bytes
        self._lock = threading.Lock()
        self._short = False

    @property
    def short(self) -> bool:
        """Whether a piece was given up, or had no room, when it was last looked at."""
        return self._short

    def keep(self) -> None:
        """Makes the pieces that are absent, as far as there is room.

        Raises:
            Unavailable: the store can't be reached; what was known stays.
            PermissionDenied: the store may not be written.
        """
        size = self._size // PIECES
        if not size:
            return
        with self._lock:
            found = {entry.key for entry in self._store.list(PREFIX)}
            try:
                for key in (f"{PREFIX}{number}" for number in range(PIECES)):
                    if key not in found:
                        self._store.put(key, self._new_bytes(size))
            except ResourceExhausted:
                self._short = True
            else:
                self._short = False

    def making_room(self, write: Callable[[], Result]) -> Result:
        """Carries out a small write; gives up a piece of the reserve if the store is full.

        Raises:
            ResourceExhausted: it is full all the same; some stores take a minute to notice
                that there is room.
            and as `write`.
        """
        try:
            return write()
        except ResourceExhausted:
            if not self._size:
                raise
        with self._lock:  # one at a time: the piece that another has given up may be enough
            try:
                return write()
            except ResourceExhausted:
                self._give_up()
            return write()

    def _give_up(self) -> None:
        self._short = True
        first = next(iter(self._store.list(PREFIX)), None)
        if first is not None:
            self._store.delete(first.key)

    def refuse_new(self, key: str) -> None:
        """Returns if new bytes may be stored.

        Raises:
            ResourceExhausted: the store is full but for what is needed to empty it.
        """
        if self._short:
            raise ResourceExhausted(
                f"writing {key}: the store is full but for its reserve, which is for Delete and "
                "gc; free some space, or raise the quota"
            )


class ReservedStore:
    """An `ObjectStore` with a reserve: small writes may use it up, new bytes may not.

    Attributes:
        reserve: what is kept free.
    """

    def __init__(self, inner: ObjectStore, reserve: Reserve, *, tending: bool = False) -> None:
        """Nothing is asked of the store yet.

        Args:
            inner: the store.
            reserve: of that store.
            tending: whether whoever uses it is there to free room: then what it writes is small,
                whatever it is, but for data.
        """
        self._inner = inner
        self._tending = tending
        self.reserve = reserve

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """As the port says."""
        if self._brings_bytes(key, condition):
            self.reserve.refuse_new(key)
            return self._inner.put(key, body, condition)
        return self.reserve.making_room(lambda: self._inner.put(key, body, condition))

    def _brings_bytes(self, key: str, condition: Condition | None) -> bool:
        if key.startswith((DATA, TAILS, SNAPSHOTS)):
            return True
        new = isinstance(condition, IfAbsent) and key.startswith((HOLDS, RECORDS))
        return new and not self._tending

    def delete(self, key: str) -> None:
        """As the port says; a disk may need room for it."""
        self.reserve.making_room(lambda: self._inner.delete(key))

    def delete_if(self, key: str, etag: str) -> None:
        """As the port says."""
        self.reserve.making_room(lambda: self._inner.delete_if(key, etag))

    def abort_upload(self, key: str, upload_id: str) -> None:
        """As the port says."""
        self.reserve.making_room(lambda: self._inner.abort_upload(key, upload_id))

    def create_upload(self, key: str) -> Upload:
        """As the port says."""
        if key.startswith(DATA):
            self.reserve.refuse_new(key)
        return self._inner.create_upload(key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """As the port says."""
        if key.startswith(DATA):
            self.reserve.refuse_new(key)
        return self._inner.put_part(key, upload_id, number, body, sums)

    # -- what passes

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says."""
        return self._inner.get(key, offset, length)

    def head(self, key: str) -> Entry:
        """As the port says."""
        return self._inner.head(key)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says."""
        return self._inner.list(prefix, start_after)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """As the port says."""
        return self._inner.list_parts(key, upload_id)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """As the port says."""
        return self._inner.complete_upload(key, upload_id, parts)

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """As the port says."""
        return self._inner.list_uploads(prefix)

    def throttled(self) -> int:
        """As the port says."""
        return self._inner.throttled()

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """As the port says."""
        return self._inner.composite_etag(parts)

    @property
    def up(self) -> bool:
        """As the port says."""
        return self._inner.up

    def refuses_changed(self, key: str) -> bool | None:
        """As the port says."""
        return self._inner.refuses_changed(key)

    def now(self) -> float:
        """As the port says."""
        return self._inner.now()

    def check_access(self) -> None:
        """As the port says."""
        self._inner.check_access()

    def close(self) -> None:
        """As the port says."""
        self._inner.close()
