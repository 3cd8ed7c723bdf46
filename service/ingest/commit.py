"""Commits: carried out in an order that any process can resume at any step.

    frozen → bytes complete ∥ hold confirmed → record live → forgotten

The frozen commit in Redis contains everything that is written after it. A process that
finds one (a stream that opens the ref, an abort, a collector) carries it out before it
does anything else to the ref: the same completion, and the same record under the same
nonce. Only the hold gets a new name each time, unless it is there without a mark: under
a name that was used, a delete may be under way.

After a failure that can't be repaired, the commit is thawed: the ingest is dropped, and
the client starts over. Such failures are: a part is gone, the upload is gone and there is
no object, the bytes were collected or are damaged, the ingest is too old, or the frozen
commit can't be read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import structlog

from holdfast.coordination.ingest import Done, Ingest, StoredPart
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import (
    Aborted,
    DataLoss,
    InvalidArgument,
    OutcomeUnknown,
    ResourceExhausted,
    Unavailable,
    UnsupportedFormat,
    because,
    shorten,
)
from holdfast.service.ingest.commit_path import CommitPath
from holdfast.service.ingest.turns import Turns, already_held
from holdfast.storage.blobs import Committed
from holdfast.storage.holds import Hold
from holdfast.storage.keys import record_key
from holdfast.storage.own_data import NEVER_SEEN, Lifetime, OwnData, Sight
from holdfast.storage.port import InvalidPart, NoSuchKey, NoSuchUpload, Part
from holdfast.storage.records import Record

log = structlog.get_logger(__name__)

First = TypeVar("First")
Second = TypeVar("Second")

FORMAT: Final = 1
COMPLETE_ATTEMPTS: Final = 3
"""How often a completion is sent while its outcome is unknown."""


@dataclass(frozen=True, slots=True)
class FrozenCommit:
    """All that a commit will write.

    Attributes:
        record: the live record, which names the bytes and has the commit's nonce.
        labels: of the hold.
        now_ns: the hold's times, in ns since 1970.
        hold_nonce: of the hold; a process that carries the commit out again knows the hold by it.
        sure: whether no other commit of the digest by this tenant was under way.
        upload_id: of the upload to complete; "" if the bytes are one object, or inline.
        parts: the parts from which to complete it.
        complete: whether the bytes are known to be complete already.
        begun: when the data key was first used, in s by the store's clock.
        sight: when this process saw the bytes complete, and their ETag.
    """

    record: Record
    labels: Mapping[str, str]
    now_ns: int
    hold_nonce: str
    sure: bool = True
    upload_id: str = ""
    parts: tuple[Part, ...] = ()
    complete: bool = False
    begun: float | None = None
    sight: Sight = NEVER_SEEN

    def hold(self) -> Hold:
        """The hold that it makes; that of an unsure commit has no labels yet."""
        labels = self.labels if self.sure else {}
        return Hold(
            digest=self.record.digest,
            size=self.record.size,
            created_at_ns=self.now_ns,
            updated_at_ns=self.now_ns,
            labels=labels,
            labelled_at_ns=self.now_ns if labels else 0,
            nonce=self.hold_nonce,
        )

    def encode(self) -> str:
        """The text that the ingest stores; the ingest has the parts and the upload already."""
        document = {
            "format": FORMAT,
            "record": self.record.encode().decode(),
            "labels": dict(self.labels),
            "now": self.now_ns,
            "hold": self.hold_nonce,
            "sure": self.sure,
            "begun": self.begun,
            "etag": self.sight.etag,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def decode(cls, ingest: Ingest) -> FrozenCommit:
        """The commit of a frozen ingest.

        Raises:
            UnsupportedFormat: a newer version has frozen it.
            DataLoss: it is damaged.
        """
        try:
            document = json.loads(ingest.frozen)
            if document["format"] > FORMAT:
                raise UnsupportedFormat(
                    f"ref {shorten(ingest.ref)} has a commit of format {document['format']} under "
                    f"way; this frontend knows up to {FORMAT}: write through a frontend of a newer "
                    "version"
                )
            body = document["record"].encode()
            digest_key = record_key(_digest(json.loads(body)))
            return cls(
                record=Record.decode(digest_key, body),
                labels=document["labels"],
                now_ns=document["now"],
                hold_nonce=document["hold"],
                sure=document["sure"],
                upload_id=ingest.upload_id,
                parts=tuple(stored_parts(ingest)),
                complete=ingest.sealed,
                begun=document["begun"],
                sight=Sight(etag=str(document.get("etag", ""))),
            )
        except (KeyError, TypeError, ValueError, AttributeError, InvalidArgument) as error:
            raise DataLoss(
                f"ref {shorten(ingest.ref)} has a commit under way that can't be read ({error!r})"
            ) from error


def _digest(document: Mapping[str, str]) -> Digest:
    return Digest.parse(document["digest"])


def stored_parts(ingest: Ingest) -> list[Part]:
    """An ingest's parts, in the form that a completion needs."""
    return as_stored(ingest.parts)


def as_stored(parts: Sequence[StoredPart]) -> list[Part]:
    """Checkpointed parts, in the form that a completion needs."""
    return [Part(n, p.etag, p.size, p.block_sums) for n, p in enumerate(parts, start=1)]


class Commits:
    """Carries out commits."""

    def __init__(self, path: CommitPath, turns: Turns) -> None:
        self._path = path
        self._turns = turns

    async def adopt(
        self, lease: Lease, record: Record, labels: Mapping[str, str], now_ns: int
    ) -> bool:
        """Makes the tenant hold the fleet's copy of a digest, instead of completing an upload.

        Returns:
            Whether the tenant holds the digest now. False: the fleet doesn't have it, or
            didn't a moment ago, and no frontend has announced since that it does.

        Raises:
            AlreadyExists: the tenant held it before.
            Aborted: the lease was lost meanwhile; the ingest is left to its next stream, but
                the tenant may hold the digest already.
        """
        path, digest = self._path, record.digest
        if await path.absences.likely(digest):
            return False
        seen = await path.workers.store(path.records.read, digest)
        if seen is None or not seen.record.readable:
            return False
        path.absences.note(digest, absent=False)
        if not await self._turns.take(lease, digest, record.data_key):
            return False
        if await path.workers.store(path.blobs.held, lease.tenant, digest):
            raise already_held(digest)
        adopted = await path.workers.store(path.blobs.adopt, lease.tenant, digest, now_ns, labels)
        if adopted is None:
            return False
        await path.ingests.drop(lease, record.data_key, Done(str(digest), record.size), digest)
        return True

    async def freeze(self, lease: Lease, frozen: FrozenCommit) -> FrozenCommit:
        """Stores what will be written, in its digest's turn; returns the commit as stored.

        Raises:
            AlreadyExists: another commit made the tenant hold the digest meanwhile.
            Aborted: the lease or the ingest is lost.
            Unavailable: Redis or the store can't be reached.
        """
        record = frozen.record

        def encode(sure: bool) -> str:
            return replace(frozen, sure=sure).encode()

        sure = await self._turns.freeze(lease, record, encode)
        return replace(frozen, sure=sure)

    async def carry_out(
        self,
        tenant: str,
        ref: str,
        frozen: FrozenCommit,
        body: bytes | None,
        *,
        again: bool = False,
    ) -> Committed:
        """Carries out a frozen commit, or thaws it.

        Args:
            tenant: whose ref it is.
            ref: the ingest.
            frozen: what to write.
            body: the bytes, if they are one object that isn't sent yet.
            again: whether another process began to carry it out; its hold may be there.

        Raises:
            Aborted: the commit can't be carried out; the ingest is dropped.
            Unavailable: an outcome is unknown; the ingest stays frozen.
        """
        path = self._path
        try:
            if frozen.begun is not None:
                self._lifetime(frozen.begun).check(path.store)
            hold = frozen.hold()
            own, hold_key = await _both(
                self._complete(frozen, body),
                path.workers.store(path.blobs.make_hold, tenant, hold, again=again),
            )
            committed = await path.workers.store(
                path.blobs.publish, tenant, frozen.record, own, hold, hold_key
            )
        except (Aborted, DataLoss, InvalidPart, NoSuchUpload) as error:
            key, digest = frozen.record.data_key, frozen.record.digest
            await self._thaw(tenant, ref, key, frozen.upload_id, digest)
            raise Aborted(
                f"the commit can't be carried out ({because(error)}); start over"
            ) from error
        await _both(
            self._forget(tenant, ref, frozen.record),
            path.absences.end(frozen.record.digest, tell=bool(frozen.upload_id)),
        )
        return committed

    def _lifetime(self, begun: float) -> Lifetime:
        return Lifetime(begun, self._path.ingest_lifetime)

    async def redrive(self, tenant: str, ingest: Ingest) -> None:
        """Carries out a commit that another stream froze, or thaws it.

        Raises:
            Unavailable: an outcome is unknown; the ingest stays frozen.
            UnsupportedFormat: a newer version froze it; the ingest stays frozen.
        """
        try:
            frozen = FrozenCommit.decode(ingest)
        except DataLoss as error:
            # Whether it took effect is unknown, which does no harm: no client got an OK for it.
            await self._thaw(tenant, ingest.ref, ingest.data_key, ingest.upload_id)
            log.warning("damaged frozen commit thawed", tenant=tenant, reason=because(error))
            return
        if await self._path.workers.store(self._path.blobs.done_before, frozen.record):
            await self._forget(tenant, ingest.ref, frozen.record)
            return
        try:
            await self.carry_out(tenant, ingest.ref, frozen, None, again=True)
        except Aborted as error:
            log.info("frozen commit thawed", tenant=tenant, reason=because(error))

    async def _complete(self, frozen: FrozenCommit, body: bytes | None) -> OwnData | None:
        """Makes the bytes complete; returns what is then known about them."""
        path, record = self._path, frozen.record
        if record.inline is not None:
            return None
        if body is not None:
            return await self._put(record.data_key, body)
        if not frozen.upload_id and not frozen.complete:
            return await self._find_whole(record, frozen.sight.etag)
        if frozen.begun is None:
            raise DataLoss(f"the commit of {record.digest} doesn't say when its upload was begun")
        sight = frozen.sight
        if not frozen.complete:
            sight = await self.complete_upload(record.data_key, frozen.upload_id, frozen.parts)
        elif frozen.parts and not sight.etag:
            sight = replace(sight, etag=path.store.composite_etag(frozen.parts) or "")
        return OwnData(self._lifetime(frozen.begun), sight)

    async def _put(self, key: str, body: bytes) -> OwnData:
        """Stores a blob as one object."""
        path = self._path
        async with path.upload_slots.slot() as slot:
            sent = path.blobs.clock()
            written = await path.workers.send((slot,), path.store.put, key, body)
        path.stored(len(body))
        return OwnData(self._lifetime(written.date), Sight(sent, written.etag))

    async def _find_whole(self, record: Record, etag: str) -> OwnData:
        """Looks for an object that another frontend should have put, and checks it."""
        asked = self._path.blobs.clock()
        try:
            entry = await self._path.workers.store(self._path.store.head, record.data_key)
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
        path, asked = self._path, self._path.blobs.clock()
        found = Sight(asked, path.store.composite_etag(parts) or "")
        for _ in range(COMPLETE_ATTEMPTS):
            try:
                written = await path.workers.patient(
                    path.store.complete_upload, key, upload_id, parts
                )
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
        path = self._path
        try:
            entry = await path.workers.store(path.store.head, key)
        except (DataLoss, NoSuchKey):
            return False
        etag = path.store.composite_etag(parts)
        return entry.size == sum(part.size for part in parts) and etag in {None, entry.etag}

    async def _forget(self, tenant: str, ref: str, record: Record) -> None:
        """Ends a committed ingest.

        The client learns that the commit is done only after this. A commit of what the fleet
        had leaves no trace that would show later that it took effect. If it were carried out
        again after that, it would bring back a hold that its tenant has deleted since.

        Raises:
            Unavailable: Redis can't be reached; the ingest stays frozen, and its commit will be
                carried out again.
        """
        await self._path.ingests.forget(
            tenant, ref, record.data_key, Done(str(record.digest), record.size), record.digest
        )

    async def _thaw(
        self, tenant: str, ref: str, key: str, upload_id: str, digest: Digest | None = None
    ) -> None:
        if await self._path.ingests.forget(tenant, ref, key, None, digest):
            self.discard_upload(key, upload_id)

    async def drop(
        self, lease: Lease, key: str, upload_id: str = "", digest: Digest | None = None
    ) -> None:
        """Drops a stream's own ingest for good, and ends its turn of `digest`.

        Raises:
            Aborted: the lease is lost; the ingest and its upload may belong to another stream.
            Unavailable: Redis can't be reached.
        """
        await self._path.ingests.drop(lease, key, digest=digest)
        self.discard_upload(key, upload_id)

    def discard_upload(self, key: str, upload_id: str) -> None:
        """Drops an upload in the background; the collector finds it if that fails."""
        if upload_id:
            self._path.background.start(
                self._path.workers.store(self._path.store.abort_upload, key, upload_id)
            )

    async def abort(self, tenant: str, ref: str) -> None:
        """Revokes a ref's lease and drops its ingest.

        A frozen commit is carried out or thawed first, because it may have taken effect. If
        the store is full, it is thawed, because its tenant wants to free space.

        Raises:
            Unavailable: Redis can't be reached, or a frozen commit's outcome is unknown.
        """
        dropped = await self._path.ingests.abort(tenant, ref)
        if dropped.ingest is not None and dropped.frozen:
            await self._end_frozen(tenant, dropped.ingest)
            # Its writer may be dead: then only the lease is left, and it is revoked now.
            dropped = await self._path.ingests.abort(tenant, ref)
        ingest = dropped.ingest
        if ingest is None or dropped.frozen:
            return
        self.discard_upload(ingest.data_key, ingest.upload_id)
        if ingest.tail_key:
            self._path.background.start(
                self._path.workers.store(self._path.store.delete, ingest.tail_key)
            )

    async def _end_frozen(self, tenant: str, ingest: Ingest) -> None:
        try:
            await self.redrive(tenant, ingest)
        except ResourceExhausted as error:
            await self._thaw(tenant, ingest.ref, ingest.data_key, ingest.upload_id)
            log.info("frozen commit thawed", tenant=tenant, reason=because(error))


async def _both(first: Awaitable[First], second: Awaitable[Second]) -> tuple[First, Second]:
    """Waits until both have ended, however they end, then raises the first one's error, if any."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two
