"""Ingest sessions: one stream's writing of one ref, message by message.

open ──bytes──▶ open ──COMMIT──▶ frozen ──▶ committed
  │               │                 └─ can't be carried out ─▶ dropped
  │               └─ other algorithm ─▶ sealed ──COMMIT──▶ frozen
  │                                       └─ WRITE at 0 ─▶ open
  └── ABORT, or the tenant holds `expected` ──▶ dropped
open, sealed ── stream ends ──▶ suspended (durable, released) ── open again, anywhere
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

import structlog

from holdfast.coordination.changes import Progress
from holdfast.coordination.ingest import Done, Ingest
from holdfast.coordination.ingests import Locked
from holdfast.coordination.leases import Lease
from holdfast.digests import Digest
from holdfast.errors import (
    Aborted,
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    OutOfRange,
    Unavailable,
    because,
    shorten,
)
from holdfast.service.holdings.absences import ABSENCE_TTL
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.freeze import prepare
from holdfast.service.ingest.intake import Admission
from holdfast.service.ingest.part_stream import PartStream
from holdfast.service.ingest.phases import Phase, following
from holdfast.service.ingest.seal import read_back, seal
from holdfast.service.ingest.turns import already_held
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.service.ingest.write_path import WritePath
from holdfast.storage.keys import data_key
from holdfast.storage.port import InvalidPart, NoSuchKey, NoSuchUpload
from holdfast.storage.records import Record, State
from holdfast.values import check_ref

log = structlog.get_logger(__name__)

OPEN_ATTEMPTS = 3
"""How often a ref is opened again after a frozen commit was carried out."""


class Session:
    """One stream's writing of one ref. Its calls come one at a time."""

    def __init__(
        self, path: WritePath, commits: Commits, catalogue: Catalogue, tenant: str, ref: str
    ) -> None:
        self._path = path
        self._commits = commits
        self._catalogue = catalogue
        self._tenant = tenant
        self._ref = check_ref(ref)
        self._expected: Digest | None = None
        self._checked: Digest | None = None
        self._checked_at = 0.0
        self._total = 0
        self._done: Done | None = None
        self._first = True
        self._dirty = False
        self._wrote = False
        self._phase = Phase.OPEN
        self._turn = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._closing = asyncio.Lock()
        self._closed = False
        self._ended = asyncio.Event()
        self._lease: Lease
        self._stream: PartStream

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self._phase

    def _become(self, phase: Phase) -> None:
        self._phase = following(self._phase, phase)

    @property
    def name(self) -> tuple[str, str]:
        """Whose ref it writes, and which."""
        return self._tenant, self._ref

    @property
    def ending(self) -> bool:
        """Whether its end is under way, or over."""
        return self._closed

    async def ends(self, patience: float) -> bool:
        """Waits until its ref is free, at most `patience` seconds; returns whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._ended.wait()
        return self._ended.is_set()

    @property
    def lease(self) -> Lease:
        """The right to write the ref, once it is open."""
        return self._lease

    @property
    def lacking(self) -> int | None:
        """Bytes that the declared total still lacks; None where none was declared."""
        return self._total - self._stream.offset if self._total else None

    @property
    def untold(self) -> bool:
        """Whether it has moved since other frontends were told."""
        return self._dirty

    async def open(self) -> None:
        """Takes the ref; a frozen commit that is found is carried out first.

        Raises:
            Unavailable: another stream writes it, or Redis or the store can't be reached.
        """
        for _ in range(OPEN_ATTEMPTS):
            ingest = await self._take()
            try:
                if not ingest.frozen:
                    self._resume(ingest)
                    return
                await self._commits.redrive(self._tenant, ingest)
            except BaseException:
                await self._give_back()
                raise
            await self._release()
        raise Unavailable(f"ref {shorten(self._ref)} is being committed; try again")

    def _resume(self, ingest: Ingest) -> None:
        self._started_at_ns = ingest.started_at_ns
        self._updated_at_ns = ingest.updated_at_ns
        self._total = ingest.total
        self._expected = Digest.parse(ingest.expected) if ingest.expected else None
        self._phase = Phase.SEALED if ingest.sealed else Phase.OPEN
        self._stream = PartStream(self._path, self._lease, ingest, ingest.total)

    async def _take(self) -> Ingest:
        path, nonce = self._path, self._path.new_nonce()
        deadline = path.leases.sent()
        try:
            opened = await path.ingests.open(
                self._tenant,
                self._ref,
                nonce,
                data_key(path.new_name()),
                ttl_ms=path.leases.ttl_ms,
                now_ns=path.now_ns(),
            )
        except Locked:
            raise
        except BaseException:
            # It may be ours all the same: only the reply is missing.
            path.releases.owe(self._tenant, self._ref, nonce)
            raise
        self._lease = path.leases.add(self._tenant, self._ref, nonce, deadline)
        self._done = opened.done if opened.ingest.offset == 0 else None
        return opened.ingest

    async def _release(self) -> None:
        lease = self._lease
        self._path.leases.remove(lease)
        if not lease.taken:
            # Whatever is still being carried out beside this must not write any more.
            lease.taken = True
            await self._path.releases.release(self._tenant, self._ref, lease.nonce)

    # -- messages

    async def handle(self, message: Message) -> Reply:
        """Carries out one message.

        Raises:
            HoldfastError: as contract.md says; the stream ends with it.
        """
        async with self._turn:
            self._stream.share.work()
            try:
                return await self._handle(message)
            finally:
                self._stream.share.rest()

    async def admit(self, admission: Admission) -> None:
        """Waits until the next message may be read; from then on its client's turn lasts."""
        share = self._stream.share
        share.work()
        await admission.ask(self.lacking, promised=share.promised)
        share.rest()

    @property
    def promised(self) -> int:
        """Bytes of the next messages that have their room already."""
        return self._stream.share.promised

    def handle_at_once(self, message: Message) -> Reply | None:
        """Carries out a WRITE of a few bytes more, as diffs come by the thousand.

        Returns:
            The reply; None if there is anything to wait for: `handle` must do it.

        Raises:
            as `handle`.
        """
        plain = (
            message.action is Action.WRITE
            and message.size
            and not (message.total or message.expected or message.labels)
        )
        if not plain or self._first or self._closed or self._turn.locked():
            return None
        stream = self._stream
        if self._phase is not Phase.OPEN or message.offset != stream.offset:
            return None
        reaches_total = self._total and stream.offset + message.size >= self._total
        if reaches_total or not stream.receive_at_once(message.data, message.begin):
            return None
        self._moved()
        return self._reply(Action.WRITE)

    def _moved(self) -> None:
        self._updated_at_ns = self._path.now_ns()
        self._dirty = self._wrote = True

    async def _handle(self, message: Message) -> Reply:
        message.check()
        if self._closed:
            raise Aborted(f"ref {shorten(self._ref)}: this stream has ended; open it again")
        self._lease.check()
        if message.action is Action.ABORT:
            return await self._abort()
        await self._announce(message)
        if message.action is not Action.STAT:
            await self._write(message)
        if message.action is Action.COMMIT:
            return await self._commit(message)
        return self._reply(message.action)

    async def _announce(self, message: Message) -> None:
        """Takes over what a message says of the whole blob."""
        commit, first, self._first = message.action is Action.COMMIT, self._first, False
        if message.total and not commit:
            self._total = self._stream.total = message.total
            self._dirty = True
        if not message.expected:
            return
        expected = Digest.parse(message.expected)
        if not commit:
            if self._expected not in {None, expected} and not first:
                raise InvalidArgument(
                    f"expected digest {expected} differs from {self._expected}, which this "
                    "stream announced before"
                )
            self._dirty |= self._expected != expected
            self._expected = expected
            self._stream.use_algorithm(expected.algorithm)
        if not (commit and self._path.absences.recent(expected)):
            await self._look_for(expected)

    async def _look_for(self, expected: Digest | None, own: Record | None = None) -> None:
        """Asks, once in a while, whether the tenant holds a digest already.

        With `own`, what its record says of the bytes must be what that says: bytes that are at
        hand heal a record of other ones.

        Raises:
            AlreadyExists: it does; the ingest is dropped.
        """
        now = self._path.clock()
        if expected is None or (self._checked == expected and now - self._checked_at < ABSENCE_TTL):
            return
        if await self._catalogue.held(self._tenant, expected) and (
            own is None or await self._path.workers.store(self._path.blobs.agrees, own)
        ):
            await self._drop()
            raise already_held(expected)
        self._checked, self._checked_at = expected, now

    async def _write(self, message: Message) -> None:
        stream = self._stream
        if message.offset > 0 and message.offset != stream.offset:
            await self._answer_repeat(message)
            if message.action is Action.COMMIT and message.expected:
                await self._look_for(Digest.parse(message.expected))
            raise OutOfRange(
                f"write at offset {message.offset}: ref {shorten(self._ref)} is at offset "
                f"{stream.offset}; go on from there"
            )
        if message.offset == 0 and stream.offset > 0:
            if message.size or message.action is Action.WRITE:
                await self._restart()
        elif self._phase is Phase.SEALED and message.size:
            raise FailedPrecondition(
                f"ref {shorten(self._ref)} is complete with {stream.offset} bytes and can't be "
                "added to; COMMIT it with the right digest, or WRITE at offset 0"
            )
        if not message.size:
            return
        await self._stream.receive(message.data, message.begin)
        self._moved()
        if self._total and self._stream.offset == self._total:
            await self._stream.send_early()

    async def _restart(self) -> None:
        """Truncates to 0: under a new data key, since old parts may still land."""
        old, path = self._stream, self._path
        fresh = data_key(path.new_name())
        await path.ingests.restart(self._lease, old.data_key, fresh, path.now_ns())
        old.discard_tail()
        await old.close()
        self._commits.discard_upload(old.data_key, old.upload_id)
        expected = str(self._expected) if self._expected else ""
        ingest = Ingest(self._ref, fresh, total=self._total, expected=expected)
        self._stream = PartStream(path, self._lease, ingest, self._total)
        self._become(Phase.OPEN)
        self._dirty = True

    def _reply(self, action: Action, *, last: bool = False) -> Reply:
        hashed = self._stream.hashed
        return Reply(
            action=action,
            started_at_ns=self._started_at_ns,
            updated_at_ns=self._updated_at_ns,
            offset=self._stream.offset,
            total=self._total,
            digest=str(hashed) if hashed else "",
            last=last,
        )

    # -- the end of an ingest

    async def _abort(self) -> Reply:
        reply = self._reply(Action.ABORT, last=True)
        await self._drop()
        return reply

    async def _drop(self, digest: Digest | None = None) -> None:
        """Drops the ingest, and gives back its turn of a digest."""
        stream = self._stream
        self._become(Phase.DROPPED)
        await self._commits.drop(self._lease, stream.data_key, stream.upload_id, digest)
        stream.discard_tail()  # not before: whoever has the lease by now goes on from it

    async def _answer_repeat(self, message: Message) -> None:
        """A COMMIT whose reply was lost finds the mark of the first one.

        Raises:
            AlreadyExists: it was carried out, and the tenant still holds the digest.
        """
        done = self._done
        if done is None or self._stream.offset or not message.repeats(done.digest, done.size):
            return
        digest = Digest.parse(done.digest)
        if await self._catalogue.held(self._tenant, digest):
            await self._drop()
            raise already_held(digest)

    async def _commit(self, message: Message) -> Reply:
        await self._answer_repeat(message)
        stream = self._stream
        total = message.total or self._total
        expected = Digest.parse(message.expected) if message.expected else self._expected
        if total and stream.offset != total:
            await self._refuse(
                f"unexpected commit size {stream.offset}, expected {total}", expected
            )
        digest = await self._digest(expected)
        if expected and digest != expected:
            await self._refuse(f"unexpected commit digest {digest}, expected {expected}", expected)
        labels = {key: value for key, value in (message.labels or {}).items() if value}
        await self._publish(digest, labels)
        reply = self._reply(Action.COMMIT, last=True)
        return replace(reply, total=total or stream.offset, digest=str(digest))

    async def _refuse(self, reason: str, expected: Digest | None) -> NoReturn:
        """Refuses a COMMIT; that the bytes are kept is true of a held lease only.

        Raises:
            FailedPrecondition: in the end.
            AlreadyExists: the tenant holds what it expects, which wasn't looked for yet.
            Aborted: the lease is lost, though nobody has said so yet.
            Unavailable: Redis or the store can't be reached.
        """
        await self._look_for(expected)
        await self._path.leases.renew(self._lease)
        raise FailedPrecondition(f"{reason}; the bytes are kept")

    async def _publish(self, digest: Digest, labels: dict[str, str]) -> None:
        path, stream = self._path, self._stream
        now_ns = path.now_ns()
        record = Record(
            digest=digest,
            state=State.LIVE,
            size=stream.offset,
            created_at_ns=now_ns,
            data_key=stream.data_key,
            block_sums=b"",
            nonce=path.new_nonce(),
        )
        if not path.absences.recent(digest):
            own = None if stream.multipart else replace(record, block_sums=stream.block_sums())
            await self._look_for(digest, own)
        if stream.multipart and await self._adopt(record, labels, now_ns):
            return
        sealed = self._phase is Phase.SEALED
        frozen, body = await prepare(
            stream, record, labels, hold_nonce=path.new_nonce(), sealed=sealed
        )
        try:
            frozen = await self._commits.freeze(self._lease, frozen)
        except AlreadyExists:
            await self._drop(digest)
            raise
        self._become(Phase.FROZEN)
        try:
            committed = await self._commits.carry_out(self._tenant, self._ref, frozen, body)
        except Aborted:
            self._become(Phase.DROPPED)
            raise
        finally:
            stream.discard_tail()  # a frozen ingest is never built upon again
        self._become(Phase.COMMITTED)
        if committed.held_before:
            if frozen.hold().labels:
                await self._catalogue.forget(self._tenant, digest)
            raise already_held(digest)
        if labels and not frozen.sure:
            await self._catalogue.update(self._tenant, digest, labels, [])

    async def _adopt(self, record: Record, labels: dict[str, str], now_ns: int) -> bool:
        """Takes what the fleet has by now, and spares the upload's completion."""
        try:
            adopted = await self._commits.adopt(self._lease, record, labels, now_ns)
        except AlreadyExists:
            await self._drop(record.digest)
            raise
        if adopted:
            self._become(Phase.COMMITTED)
            self._stream.discard_tail()
            self._commits.discard_upload(self._stream.data_key, self._stream.upload_id)
        return adopted

    # -- a digest that wasn't hashed on the way

    async def _digest(self, expected: Digest | None) -> Digest:
        """The digest to commit under, by the algorithm of `expected`; never trusted."""
        stream, hashed = self._stream, self._stream.hashed
        if hashed and (expected is None or hashed.algorithm == expected.algorithm):
            return hashed
        algorithm = expected.algorithm if expected else "sha256"
        if not stream.multipart:
            body = await stream.body()
            return await self._path.workers.hash(Digest.of, body, algorithm)
        if self._phase is Phase.OPEN:
            try:
                await seal(self._path, self._commits, self._lease, stream)
            except (DataLoss, InvalidPart, NoSuchUpload) as error:
                await self._drop()
                raise Aborted(
                    f"the upload can't be completed ({because(error)}); start over"
                ) from error
            self._become(Phase.SEALED)
        try:
            return await read_back(self._path, self._lease, stream, algorithm)
        except (NoSuchKey, DataLoss) as error:
            await self._drop()
            raise Aborted(f"the bytes can't be read back ({because(error)}); start over") from error

    # -- the end of the stream

    def abandon(self) -> None:
        """Gives up all that it holds in this process, at once: its end was broken off, or is over.

        A lease that Redis may still have is released later.
        """
        self._closed = True
        if not self._lease.taken:
            self._lease.taken = True
            self._path.releases.owe(self._tenant, self._ref, self._lease.nonce)
        self._path.leases.remove(self._lease)
        self._stream.abandon()
        self._ended.set()

    async def publish_progress(self) -> None:
        """Tells other frontends how far this stream is, if it moved.

        One at a time: the stream's end waits for what is being told.
        """
        async with self._telling:
            if not self._dirty or self._phase not in {Phase.OPEN, Phase.SEALED}:
                return
            self._dirty = False
            try:
                told = await self._tell()
            except BaseException:
                self._dirty = True
                raise
            if not told:
                self._lease.taken = True

    async def _tell(self) -> bool:
        progress = Progress(self._stream.offset, self._total, self._expected)
        return await self._path.ingests.progress(
            self._lease, self._stream.data_key, progress, self._updated_at_ns
        )

    async def close(self) -> None:
        """Makes durable what was received, within the grace, and releases the ref.

        A message that is still being carried out is waited for, within the same grace.
        """
        async with self._closing:
            if not self._closed:
                self._closed = True
                try:
                    await self._close()
                finally:
                    self._ended.set()

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self._path.limits.suspend_grace), self._turn:
                await self._suspend()
        except (HoldfastError, TimeoutError) as error:
            log.info("a stream's rest is not durable", tenant=self._tenant, reason=because(error))
        finally:
            try:
                await self._stream.close()
            finally:
                await self._give_back()

    async def _suspend(self) -> None:
        if self._phase in {Phase.OPEN, Phase.SEALED} and not self._lease.lost:
            await self._stream.suspend()
            # Checkpoints have left their own times; the ingest's is that of its last write.
            self._dirty |= self._wrote
            await self.publish_progress()
            self._become(Phase.SUSPENDED)

    async def _give_back(self) -> None:
        try:
            await self._release()
        except HoldfastError as error:
            log.info("a lease is not released yet", tenant=self._tenant, reason=because(error))
