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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import structlog

from holdfast.coordination.ingest import Done, Ingest
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import Aborted, DataLoss, ResourceExhausted, because
from holdfast.service.holdings.absences import Absences
from holdfast.service.holdings.charges import Charges
from holdfast.service.ingest.completion import Completion
from holdfast.service.ingest.discards import Discards
from holdfast.service.ingest.frozen import FrozenCommit
from holdfast.service.ingest.turns import Turns, already_held
from holdfast.service.store.blobs import AsyncBlobs
from holdfast.service.store.records import AsyncRecords
from holdfast.storage.blobs import BytesOutcome, Committed
from holdfast.storage.port import InvalidPart, NoSuchUpload
from holdfast.storage.records import Record

log = structlog.get_logger(__name__)

First = TypeVar("First")
Second = TypeVar("Second")


class Commits:
    """Carries out commits."""

    def __init__(
        self,
        *,
        records: AsyncRecords,
        blobs: AsyncBlobs,
        ingests: Ingests,
        absences: Absences,
        charges: Charges,
        turns: Turns,
        completion: Completion,
        discards: Discards,
        added: Callable[[int], None],
    ) -> None:
        """Puts it together.

        Args:
            records: the records of digests.
            blobs: makes holds and records.
            ingests: the ingests in Redis.
            absences: learns which digests are live now.
            charges: learns of the holds of commits that others have begun.
            turns: of the commits of one digest.
            completion: makes the bytes complete.
            discards: drops what isn't needed any more.
            added: called with the bytes of each blob that wasn't there before.
        """
        self._records = records
        self._blobs = blobs
        self._ingests = ingests
        self._absences = absences
        self._charges = charges
        self._turns = turns
        self._completion = completion
        self._discards = discards
        self._added = added

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
        digest, blobs = record.digest, self._blobs
        if await self._absences.likely(digest):
            return False
        seen = await self._records.read(digest)
        if seen is None or not seen.record.readable:
            return False
        self._absences.note(digest, absent=False)
        if not await self._turns.take(lease, digest, record.data_key):
            return False
        if await blobs.held(lease.tenant, digest):
            raise already_held(digest)
        adopted = await blobs.adopt(lease.tenant, digest, now_ns, labels)
        if adopted is None:
            return False
        await self._ingests.drop(lease, record.data_key, Done(str(digest), record.size), digest)
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
        lease: Lease | None = None,
    ) -> Committed:
        """Carries out a frozen commit, or thaws it.

        Args:
            tenant: whose ref it is.
            ref: the ingest.
            frozen: what to write.
            body: the bytes, if they are one object that isn't sent yet.
            again: whether another process began to carry it out; its hold may be there.
            lease: of the stream that froze it; it ends with the ingest, which saves a request.

        Raises:
            Aborted: the commit can't be carried out; the ingest is dropped.
            Unavailable: an outcome is unknown; the ingest stays frozen.
        """
        try:
            self._completion.check_age(frozen)
            hold = frozen.hold()
            own, hold_key = await _both(
                self._completion.complete(frozen, body),
                self._blobs.make_hold(tenant, hold, again=again),
            )
            committed = await self._blobs.publish(tenant, frozen.record, own, hold, hold_key)
        except (Aborted, DataLoss, InvalidPart, NoSuchUpload) as error:
            key, digest = frozen.record.data_key, frozen.record.digest
            await self._thaw(tenant, ref, key, frozen.upload_id, digest)
            raise Aborted(
                f"the commit can't be carried out ({because(error)}); start over"
            ) from error
        if committed.outcome is BytesOutcome.CREATED:
            self._added(frozen.record.size)
        await _both(
            self._forget(tenant, ref, frozen.record, lease),
            self._absences.end(frozen.record.digest, tell=bool(frozen.upload_id)),
        )
        return committed

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
        if await self._blobs.done_before(frozen.record):
            await self._forget(tenant, ingest.ref, frozen.record)
            return
        record = frozen.record
        try:
            # It was admitted before it was frozen, perhaps longer ago than charges are kept for.
            async with self._charges.gaining(tenant, record.digest, record.size, regardless=True):
                await self.carry_out(tenant, ingest.ref, frozen, None, again=True)
        except Aborted as error:
            log.info("frozen commit thawed", tenant=tenant, reason=because(error))

    async def _forget(
        self, tenant: str, ref: str, record: Record, lease: Lease | None = None
    ) -> None:
        """Ends a committed ingest.

        The client learns that the commit is done only after this. A commit of what the fleet
        had leaves no trace that would show later that it took effect. If it were carried out
        again after that, it would bring back a hold that its tenant has deleted since.

        Raises:
            Unavailable: Redis can't be reached; the ingest stays frozen, and its commit will be
                carried out again.
        """
        done = Done(str(record.digest), record.size)
        await self._ingests.forget(tenant, ref, record.data_key, done, record.digest, lease=lease)

    async def _thaw(
        self, tenant: str, ref: str, key: str, upload_id: str, digest: Digest | None = None
    ) -> None:
        if await self._ingests.forget(tenant, ref, key, None, digest):
            self._discards.upload(key, upload_id)

    async def drop(
        self, lease: Lease, key: str, upload_id: str = "", digest: Digest | None = None
    ) -> None:
        """Drops a stream's own ingest for good, and ends its turn of `digest`.

        Raises:
            Aborted: the lease is lost; the ingest and its upload may belong to another stream.
            Unavailable: Redis can't be reached.
        """
        await self._ingests.drop(lease, key, digest=digest)
        self._discards.upload(key, upload_id)

    async def abort(self, tenant: str, ref: str) -> bool:
        """Revokes a ref's lease and drops its ingest; returns whether there was one.

        A frozen commit is carried out or thawed first, because it may have taken effect. If
        the store is full, it is thawed, because its tenant wants to free space.

        Raises:
            Unavailable: Redis can't be reached, or a frozen commit's outcome is unknown.
        """
        dropped = await self._ingests.abort(tenant, ref)
        there = dropped.ingest is not None
        if dropped.ingest is not None and dropped.frozen:
            await self._end_frozen(tenant, dropped.ingest)
            # Its writer may be dead: then only the lease is left, and it is revoked now.
            dropped = await self._ingests.abort(tenant, ref)
        ingest = dropped.ingest
        if ingest is None or dropped.frozen:
            return there
        self._discards.upload(ingest.data_key, ingest.upload_id)
        self._discards.tail(ingest.tail_key)
        return there

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
