"""Makes the bytes of a commit complete, and finds out what became of them if a reply was lost.

inline          nothing to do: the record contains the bytes
one object      it is put here, or was put before; another process looks for it
parts           the upload is completed, unless the ingest was sealed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from holdfast.errors import Aborted, DataLoss, OutcomeUnknown, Unavailable
from holdfast.service.ingest.frozen import FrozenCommit
from holdfast.service.store.port import AsyncStore, MakeObject, Sender
from holdfast.storage.own_data import Lifetime, OwnData, Sight
from holdfast.storage.port import InvalidPart, NoSuchKey, NoSuchUpload, Part, Written
from holdfast.storage.records import Record

COMPLETE_ATTEMPTS: Final = 3
"""How often a completion is sent while its outcome is unknown."""


class Completion:
    """Completes the bytes of commits."""

    def __init__(
        self,
        store: AsyncStore,
        sender: Sender,
        clock: Callable[[], float],
        ingest_lifetime: float,
    ) -> None:
        """Puts it together.

        Args:
            store: has the data objects.
            sender: sends those that aren't there yet.
            clock: that of `Blobs`, in s.
            ingest_lifetime: seconds from the first use of a data key to the record (L).
        """
        self._store = store
        self._sender = sender
        self._clock = clock
        self._ingest_lifetime = ingest_lifetime

    def _lifetime(self, begun: float) -> Lifetime:
        return Lifetime(begun, self._ingest_lifetime)

    def check_age(self, frozen: FrozenCommit) -> None:
        """Refuses to commit bytes that a collector may be deleting.

        Raises:
            Aborted: the ingest is too old.
        """
        if frozen.begun is not None:
            self._lifetime(frozen.begun).check(self._store)

    async def complete(self, frozen: FrozenCommit, body: bytes | None) -> OwnData | None:
        """Makes the bytes complete; returns what is then known about them.

        Args:
            frozen: the commit.
            body: the bytes, if they are one object that isn't sent yet.

        Raises:
            Aborted, DataLoss, InvalidPart, NoSuchUpload: they can't be completed any more.
            Unavailable: there is no definite outcome.
        """
        record = frozen.record
        if record.inline is not None:
            return None
        if body is not None:
            written, sight = await self.put(record.data_key, lambda: body)
            return OwnData(self._lifetime(written.date), sight)
        if not frozen.upload_id and not frozen.complete:
            return await self._find_whole(record, frozen.sight.etag)
        if frozen.begun is None:
            raise DataLoss(f"the commit of {record.digest} doesn't say when its upload was begun")
        sight = frozen.sight
        if not frozen.complete:
            sight = await self.complete_upload(record.data_key, frozen.upload_id, frozen.parts)
        elif frozen.parts and not sight.etag:
            sight = replace(sight, etag=self._store.composite_etag(frozen.parts) or "")
        return OwnData(self._lifetime(frozen.begun), sight)

    async def put(self, key: str, body: MakeObject) -> tuple[Written, Sight]:
        """Stores a blob as one object; returns also since when it has been seen complete."""
        sent = 0.0

        def begin() -> bytes:
            nonlocal sent
            sent = self._clock()
            return body()

        written = await self._sender.put(key, begin)
        return written, Sight(sent, written.etag)

    async def _find_whole(self, record: Record, etag: str) -> OwnData:
        """Looks for an object that another frontend should have put, and checks it."""
        asked = self._clock()
        try:
            entry = await self._store.head(record.data_key)
        except NoSuchKey as error:
            raise Aborted(f"the bytes of {record.digest} never reached the store") from error
        if entry.size != record.size or etag not in {"", entry.etag}:
            raise Aborted(
                f"{record.data_key} has {entry.size} bytes and the ETag {entry.etag}; the commit "
                f"says {record.size} bytes and {etag or 'no ETag'}"
            )
        return OwnData(self._lifetime(entry.last_modified), Sight(asked, entry.etag))

    async def complete_upload(self, key: str, upload_id: str, parts: tuple[Part, ...]) -> Sight:
        """Completes an upload; if the reply is lost, it looks whether the object is there.

        Returns:
            When the completion was begun, and the object's ETag, as far as it is known.

        Raises:
            InvalidPart: a part is gone; nothing was completed.
            NoSuchUpload: the upload is gone and there is no object.
            Unavailable: there is no definite outcome.
        """
        asked = self._clock()
        found = Sight(asked, self._store.composite_etag(parts) or "")
        for _ in range(COMPLETE_ATTEMPTS):
            try:
                written = await self._store.complete_upload(key, upload_id, parts)
            except OutcomeUnknown:
                if await self._completed(key, parts):
                    return found
            except (NoSuchUpload, InvalidPart):
                if await self._completed(key, parts):
                    return found
                raise
            else:
                return Sight(asked, written.etag)
        raise Unavailable("the store gave no definite reply to the completion; try again")

    async def _completed(self, key: str, parts: tuple[Part, ...]) -> bool:
        try:
            entry = await self._store.head(key)
        except (DataLoss, NoSuchKey):
            return False
        etag = self._store.composite_etag(parts)
        return entry.size == sum(part.size for part in parts) and etag in {None, entry.etag}
