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

import structlog

from holdfast.coordination.ingest import Ingest
from holdfast.coordination.leases import Guard, Lease
from holdfast.digests import Digest
from holdfast.errors import (
    Aborted,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    OutOfRange,
    because,
    shorten,
)
from holdfast.service.ingest.committing import commit
from holdfast.service.ingest.intake import Admission
from holdfast.service.ingest.open_ingest import OpenIngest
from holdfast.service.ingest.phases import Phase
from holdfast.service.ingest.progress import MOVING, ProgressReport
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.service.ingest.writing import INLINE_HASHING
from holdfast.tasks import begin

log = structlog.get_logger(__name__)


class Session:
    """One stream's writing of one ref. Its calls come one at a time.

    Attributes:
        guard: surrounds waiting for the next message, once it is open: see `Lease.guard`.
    """

    def __init__(self, ingest: OpenIngest, grace: float) -> None:
        """Writes nothing yet.

        Args:
            ingest: the ref's ingest, which isn't open yet.
            grace: seconds in which the bytes of a broken stream are made durable.
        """
        self._ingest = ingest
        self._grace = grace
        self._progress = ProgressReport(self._ingest)
        self._first = True  # no message was handled yet
        self._committing = False
        self._turn = asyncio.Lock()
        self._closing = asyncio.Lock()
        self._closed = False
        self._ended = asyncio.Event()
        self.guard: Guard

    @property
    def phase(self) -> Phase:
        """The phase that it is in."""
        return self._ingest.phase

    @property
    def name(self) -> tuple[str, str]:
        """The tenant and the ref that it writes."""
        return self._ingest.tenant, self._ingest.ref

    @property
    def offset(self) -> int:
        """How many bytes it has received, those of earlier streams included."""
        return self._ingest.stream.offset

    @property
    def durable(self) -> int:
        """How many of them another stream could continue after."""
        return self._ingest.stream.durable

    @property
    def committing(self) -> bool:
        """Whether its COMMIT is being carried out, from its arrival on."""
        return self._committing

    @property
    def total(self) -> int:
        """How many bytes its client has declared; 0 if unknown."""
        return self._ingest.declared.total

    @property
    def started_at_ns(self) -> int:
        """When its ingest was first opened, in ns since 1970."""
        return self._ingest.started_at_ns

    @property
    def ending(self) -> bool:
        """Whether its end is under way, or over."""
        return self._closed

    async def ends(self, patience: float) -> bool:
        """Waits at most `patience` seconds until its ref is free; returns whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._ended.wait()
        return self._ended.is_set()

    @property
    def lease(self) -> Lease:
        """The right to write the ref, once it is open."""
        return self._ingest.lease

    @property
    def untold(self) -> bool:
        """Whether it has progress that wasn't reported to other frontends yet."""
        return self._progress.due

    @property
    def heard_at(self) -> float:
        """When the client last sent bytes, or opened the ref; in s, never set back."""
        return self._progress.heard_at

    def latest(self, ingest: Ingest) -> Ingest:
        """The ingest with what this stream has received, declared and answered so far.

        Redis decides whose the ref is: only if it has just named this stream's lease and data key
        is memory newer. If the ref was aborted elsewhere or is another stream's, if this stream
        has ended or is just beginning anew, the ingest remains as Redis had it.

        Args:
            ingest: as Redis has just had it, with the nonce of its lease.
        """
        return self._progress.latest(ingest)

    async def open(self) -> None:
        """Acquires the ref; if it has a frozen commit, that is carried out first.

        Raises:
            Unavailable: another stream writes it, or Redis or the store can't be reached.
        """
        await self._ingest.open()
        self.guard = self._ingest.lease.guard()

    # -- messages

    async def handle(self, message: Message) -> Reply:
        """Carries out one message.

        Raises:
            HoldfastError: docs/wire.md lists them; the stream ends with the error.
        """
        async with self._turn:
            self._ingest.stream.share.work()
            self._committing = message.action is Action.COMMIT
            try:
                message.check()
                if self._closed:
                    ref = shorten(self._ingest.ref)
                    raise Aborted(f"ref {ref}: this stream has ended; open a new one")
                with self.guard:
                    if message.action is Action.ABORT:
                        return await self._abort()
                    if message.total or message.expected:
                        await self._announce(message)
                    self._first = False
                    if message.action is not Action.STAT:
                        await self._write(message)
                if message.action is Action.COMMIT:
                    return await self._commit(message)
                return self._reply(message.action)
            finally:
                self._committing = False
                self._ingest.stream.share.rest()

    async def admit(self, admission: Admission, announced: int) -> int:
        """Waits until the next message, or more of it, may be read; then its client's turn begins.

        Returns how many bytes of it may come so far, if `announced`.

        Args:
            admission: the stream's share of the intake.
            announced: bytes of the message, as far as they are known; else less than 0.
        """
        stream = self._ingest.stream
        share, lacking = stream.share, self._ingest.declared.lacking(stream.offset)
        share.work()
        granted = await admission.ask(lacking, promised=share.promised, announced=announced)
        share.rest()
        return granted

    def promises(self, message: Message) -> bool:
        """Whether the answer to a message may say what the tenant holds.

        The first message counts as one: nothing is received for a tenant that can't be promised
        anything.
        """
        return self._first or message.action is Action.COMMIT or bool(message.expected)

    @property
    def promised(self) -> int:
        """Bytes of the next messages for which there is room in the buffers already."""
        return self._ingest.stream.share.promised

    def answer_at_once(self, message: Message) -> Reply | None:
        """Does as `handle_at_once`, for a message that came without `admit`.

        It has come whole, and is small, so that it needs no room. The client's turn is over for as
        long as it is carried out, and a new one follows.

        Raises:
            as `handle`.
        """
        share = self._ingest.stream.share
        share.work()
        try:
            return self.handle_at_once(message)
        finally:
            share.rest()

    def handle_at_once(self, message: Message) -> Reply | None:
        """Carries out a STAT, or a WRITE that adds a few bytes; diffs send thousands of these.

        Returns:
            The reply; or None if the message needs more than that, or has to wait: then call
            `handle`.

        Raises:
            as `handle`.
        """
        declares = message.total or message.expected or message.labels
        if declares or self._first or self._closed or self._turn.locked():
            return None
        if message.action is Action.WRITE:
            return self._write_at_once(message)
        if message.action is Action.STAT and message.offset >= 0:
            self._ingest.lease.check()
            return self._reply(Action.STAT)
        return None

    def _write_at_once(self, message: Message) -> Reply | None:
        ingest = self._ingest
        stream, total = ingest.stream, ingest.declared.total
        few = 0 < message.size <= INLINE_HASHING
        if not few or ingest.phase is not Phase.OPEN or message.offset != stream.offset:
            return None
        ingest.lease.check()
        end = stream.offset + message.size
        if (total and end >= total) or end > ingest.fits or end > ingest.grows:
            return None
        if not stream.receive_at_once(message.data, message.begin):
            return None
        self._progress.moved()
        return self._reply(Action.WRITE)

    async def _announce(self, message: Message) -> None:
        """Records what a message declares about the whole blob."""
        ingest, final = self._ingest, message.action is Action.COMMIT
        if message.total and not final:
            ingest.declared = replace(ingest.declared, total=message.total)
            ingest.stream.total = message.total
            self._progress.declared()
        if message.expected:
            await self._expect(message, final=final)
        if message.total and not final:
            await ingest.fit(message.total)

    async def _expect(self, message: Message, *, final: bool) -> None:
        ingest = self._ingest
        expected, before = Digest.parse(message.expected), ingest.declared.expected
        if not final:
            if before not in {None, expected} and not self._first:
                raise InvalidArgument(
                    f"expected digest {expected} differs from {before}, which this stream "
                    "declared before"
                )
            if before != expected:
                self._progress.declared()
            ingest.declared = replace(ingest.declared, expected=expected)
            ingest.stream.use_algorithm(expected.algorithm)
        if not (final and ingest.catalogue.absences.recent(expected)):
            await ingest.look_for(expected)

    async def _write(self, message: Message) -> None:
        ingest, offset = self._ingest, self._ingest.stream.offset
        if message.offset > 0 and message.offset != offset:
            await ingest.answer_repeat(message)
            if message.action is Action.COMMIT and message.expected:
                await ingest.look_for(Digest.parse(message.expected))
            raise OutOfRange(
                f"write at offset {message.offset}: ref {shorten(ingest.ref)} is at offset "
                f"{offset}; continue from there"
            )
        if message.offset == 0 and offset > 0:
            if message.size or message.action is Action.WRITE:
                await ingest.restart()
                self._progress.declared()
                offset = 0
        elif ingest.phase is Phase.SEALED and message.size:
            raise FailedPrecondition(
                f"ref {shorten(ingest.ref)} is complete with {offset} bytes and can't be "
                "added to; COMMIT it with the right digest, or WRITE at offset 0"
            )
        if not message.size:
            return
        await ingest.fit(offset + message.size)
        await ingest.stream.receive(message.data, message.begin)
        self._progress.moved()
        if offset + message.size == ingest.declared.total:
            await ingest.stream.send_early()

    async def _commit(self, message: Message) -> Reply:
        total, digest = await commit(self._ingest, message)
        reply = self._reply(Action.COMMIT, last=True)
        return replace(reply, total=total, digest=str(digest))

    async def _abort(self) -> Reply:
        reply = self._reply(Action.ABORT, last=True)
        await self._ingest.drop()
        return reply

    def _reply(self, action: Action, *, last: bool = False) -> Reply:
        ingest = self._ingest
        hashed = ingest.stream.hashed
        return Reply(
            action=action,
            started_at_ns=ingest.started_at_ns,
            updated_at_ns=ingest.updated_at_ns,
            offset=ingest.stream.offset,
            total=ingest.declared.total,
            digest=str(hashed) if hashed else "",
            kept=ingest.stream.durable,
            last=last,
        )

    # -- the end of the stream

    def abandon(self) -> None:
        """Releases all that it holds in this process, at once: its end is over, or was cancelled.

        A lease that Redis may still have is released later.
        """
        self._closed = True
        self._ingest.abandon()
        self._ended.set()

    async def publish_progress(self) -> None:
        """Reports this stream's progress to other frontends, if there is any.

        Reports are sent one at a time: the stream's end waits for a report that is under way.
        """
        await self._progress.send()

    async def close(self) -> None:
        """Makes durable what was received, within the grace period, and releases the ref.

        If a message is still being carried out, it waits for that, within the same period.
        """
        async with self._closing:
            if not self._closed:
                self._closed = True
                try:
                    await self._close()
                finally:
                    self._ended.set()

    async def _close(self) -> None:
        tenant, telling = self._ingest.tenant, self._begin_to_tell()
        try:
            async with asyncio.timeout(self._grace), self._turn:
                await self._suspend()
        except (HoldfastError, TimeoutError) as error:
            log.info(
                "stream ended before its last bytes were stored",
                tenant=tenant,
                reason=because(error),
            )
        finally:
            try:
                await self._ingest.stream.close()
            finally:
                if telling:
                    telling.cancel()
                await self._ingest.release()

    async def _suspend(self) -> None:
        ingest = self._ingest
        if ingest.phase in MOVING and not ingest.lease.lost:
            with ingest.lease.guard():
                await ingest.stream.suspend()
                await self._progress.send_last()
            ingest.become(Phase.SUSPENDED)

    def _begin_to_tell(self) -> asyncio.Task[None] | None:
        """Begins to say that the ref will be free soon, if what is left to do takes its time.

        It costs none of the grace: it is said while the message that is under way is carried out,
        and bytes are made durable.
        """
        ingest = self._ingest
        if ingest.phase not in MOVING or ingest.lease.lost:
            return None
        if self.offset == self.durable and not self._turn.locked():
            return None
        return begin(self._tell_others())

    async def _tell_others(self) -> None:
        try:
            await self._ingest.refs.ending(self._ingest.lease)
        except HoldfastError as error:
            log.debug("end not announced", tenant=self._ingest.tenant, reason=because(error))
