"""Space that is kept occupied, so that Holdfast itself can empty a full store.

    there is room     fleet/reserve-0 … fleet/reserve-3 are stored, of random bytes
    a small write finds the store full (a mark, a record that changes, a run's notes)
                      one piece is deleted, and the write is sent again
    a piece is absent and there is no room for it
                      new bytes are refused, so that they don't fill the space just freed

Delete and gc write before they free anything: empty marks, tombstones, lists. Writes of new
bytes (data, parts, tails, snapshots, new holds and records) never use the reserve. It has
several pieces, because other processes notice only after a while that one is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from holdfast.errors import ResourceExhausted
from holdfast.storage.keys import DATA, FLEET, HOLDS, RECORDS, RETAINED, SNAPSHOTS, TAILS
from holdfast.storage.passed_on import PassedOnReads
from holdfast.storage.port import (
    Body,
    Condition,
    IfAbsent,
    ObjectStore,
    Part,
    Upload,
    Written,
)
from holdfast.storage.retained import DROPPED
from holdfast.switching import apart

PREFIX: Final = f"{FLEET}reserve-"
PIECES: Final = 4

Result = TypeVar("Result")
Bytes = Callable[[int], bytes]
"""Makes the given number of random bytes: equal bytes take no space on some disks."""


class Reserve:
    """The reserve of one store. Blocking; safe for many threads and processes."""

    def __init__(self, store: ObjectStore, size: int, new_bytes: Bytes) -> None:
        """Makes no requests yet.

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
        """Whether a piece was missing, or had no room, at the last look."""
        return self._short

    def keep(self) -> None:
        """Creates the pieces that are absent, as far as there is room.

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
        """Performs a small write; deletes a piece of the reserve if the store is full.

        Raises:
            ResourceExhausted: the store is still full; some stores need a minute to notice
                that there is room.
            and as `write`.
        """
        try:
            return write()
        except ResourceExhausted:
            if not self._size:
                raise
        # It waits for others under a lock, so the loop mustn't do it.
        return apart(self._make_room, write)

    def _make_room(self, write: Callable[[], Result]) -> Result:
        with self._lock:  # one at a time: the piece that another one deleted may be enough
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
            ResourceExhausted: only the space needed to empty the store is left.
        """
        if self._short:
            raise ResourceExhausted(
                f"writing {key}: the store is full but for its reserve, which is for Delete and "
                "gc; free some space, or raise the quota"
            )


class ReservedStore(PassedOnReads):
    """An `ObjectStore` with a reserve: small writes may use it, new bytes may not.

    Attributes:
        reserve: the space that is kept.
    """

    def __init__(self, inner: ObjectStore, reserve: Reserve, *, tending: bool = False) -> None:
        """Makes no requests yet.

        Args:
            inner: the store.
            reserve: of that store.
            tending: whether the caller is there to free space: then everything that it writes
                counts as small, except data.
        """
        super().__init__(inner)
        self._tending = tending
        self.reserve = reserve

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """See `ObjectStore`."""
        if self._brings_bytes(key, condition):
            self.reserve.refuse_new(key)
            return self._inner.put(key, body, condition)
        return self.reserve.making_room(lambda: self._inner.put(key, body, condition))

    def _brings_bytes(self, key: str, condition: Condition | None) -> bool:
        if key.startswith((DATA, TAILS, SNAPSHOTS)):
            return True
        if key.startswith(RETAINED):  # what keeps a blob uses no space that is there to free some
            return not key.endswith(DROPPED)
        new = isinstance(condition, IfAbsent) and key.startswith((HOLDS, RECORDS))
        return new and not self._tending

    def delete(self, key: str) -> None:
        """See `ObjectStore`; a disk may need space for it."""
        self.reserve.making_room(lambda: self._inner.delete(key))

    def delete_if(self, key: str, etag: str) -> None:
        """See `ObjectStore`."""
        self.reserve.making_room(lambda: self._inner.delete_if(key, etag))

    def abort_upload(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`."""
        self.reserve.making_room(lambda: self._inner.abort_upload(key, upload_id))

    def create_upload(self, key: str) -> Upload:
        """See `ObjectStore`."""
        if key.startswith(DATA):
            self.reserve.refuse_new(key)
        return self._inner.create_upload(key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """See `ObjectStore`."""
        if key.startswith(DATA):
            self.reserve.refuse_new(key)
        return self._inner.put_part(key, upload_id, number, body, sums)

    # -- passed on unchanged

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """See `ObjectStore`."""
        return self._inner.complete_upload(key, upload_id, parts)

    def refuses_changed(self, key: str) -> bool | None:
        """See `ObjectStore`."""
        return self._inner.refuses_changed(key)
