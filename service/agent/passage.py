"""How the messages of one write stream reach a frontend, and the next one if that is lost.

    a message ──▶ the frontend ──▶ its reply
                     │ lost
                     ▼
    another frontend ──▶ STAT ──▶ the bytes that it doesn't have ──▶ what was asked last

A reply that was lost is asked for again; a COMMIT that took effect is recognised.
`continuation.py` has the states of a ref between two frontends, and what each reply allows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.continuation import Continuation
from holdfast.service.agent.lost_commits import committed, digest_of, encoded, is_made_by
from holdfast.service.agent.outcomes import (
    FrontendLost,
    expired,
    is_locked,
    reason_of,
    refuses,
)
from holdfast.service.agent.relay_stream import RelayStream
from holdfast.service.agent.replay import Replay
from holdfast.service.agent.room import ReplayRoom
from holdfast.service.agent.upstream import Upstream
from holdfast.service.agent.upstreams import Attempts, Upstreams
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.transport.status import Code, Status

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

INFO: Final = "/containerd.services.content.v1.Content/Info"


@dataclass(frozen=True, slots=True)
class RelayPath:
    """What all write streams of an agent share.

    Attributes:
        upstreams: the frontends.
        room: for the bytes that may be sent again.
        clock: monotonic, in s.
        deadline: seconds that a first message waits for a frontend, and an Info for its answer.
        patience: seconds for which a stream that has begun waits for a frontend that continues it.
        grace: seconds in which the bytes of a stream that ends are made durable.
    """

    upstreams: Upstreams
    room: ReplayRoom
    clock: Callable[[], float]
    deadline: float
    patience: float
    grace: float


class Passage:
    """One stream's way to a frontend. Its calls come one at a time.

    Attributes:
        upstream: the frontend that it is written through, or was last; None before the first.
        stream: to that frontend; None before the first, and after a loss.
        known: what is known of its ref.
    """

    def __init__(
        self,
        path: RelayPath,
        tenant: str,
        replay: Replay,
        interrupted: Callable[[Status], None],
        alone: Callable[[], bool],
    ) -> None:
        """Asks no frontend yet.

        Args:
            path: what it shares with other streams.
            tenant: whose stream it is.
            replay: the bytes that a frontend may lack.
            interrupted: called with a frontend's status if that has ended the stream, between two
                messages, for good.
            alone: whether no other stream of this agent writes the ref.
        """
        self.upstream: Upstream | None = None
        self.stream: RelayStream | None = None
        self.known = Continuation(replay)
        self._path = path
        self._tenant = tenant
        self._replay = replay
        self._interrupted = interrupted
        self._alone = alone
        self._first_lost = False

    @property
    def begun(self) -> bool:
        """Whether a message was answered."""
        return self.known.last is not None

    async def carry_out(
        self, message: Message, raw: bytes, *, misplaced: bool
    ) -> pb.WriteContentResponse:
        """Has a message carried out, by whichever frontend can do it; returns its reply.

        Args:
            message: what the client asks for; its bytes are kept already.
            raw: the same, as it came.
            misplaced: whether its bytes don't follow those before: a frontend refuses it.

        Raises:
            FrontendLost: none was reached in time.
            Status: a frontend's error, which won't pass, or didn't in time.
        """
        stream = self.stream
        if stream is not None:
            try:
                return await self._deliver(stream, message, raw)
            except FrontendLost as lost:
                self.leave(lost)
            except Status as status:
                self.leave(status)
                if not self.passing(status):
                    raise
        return await self._elsewhere(message, raw, misplaced=misplaced)

    async def _elsewhere(
        self, message: Message, raw: bytes, *, misplaced: bool
    ) -> pb.WriteContentResponse:
        """Has a message carried out through a new stream."""
        path, begun = self._path, self.begun
        attempts = path.upstreams.attempts(path.patience if begun else path.deadline, hopeful=begun)
        first = self.upstream is None

        async def through(stream: RelayStream) -> pb.WriteContentResponse:
            nonlocal first
            asked, first = first, False
            if asked:
                return await self._deliver(stream, message, raw)
            return await self._continue(stream, message, raw, misplaced=misplaced)

        try:
            return await self.on_another(attempts, through)
        except Status as status:
            if status.code is Code.ALREADY_EXISTS and self.known.commit_lost:
                return await self._confirmed(message, status)
            raise

    async def on_another(
        self, attempts: Attempts, work: Callable[[RelayStream], Awaitable[Result]]
    ) -> Result:
        """Does something with a new stream, to whichever frontend can do it.

        Raises:
            FrontendLost: none was reached in time.
            Status: a frontend's error, which won't pass, or didn't in time.
        """
        async for upstream in attempts:
            try:
                return await work(await self._begin(upstream))
            except FrontendLost as lost:
                self.leave(lost)
                attempts.failed(lost)
            except Status as status:
                self.leave(status)
                if not self.passing(status):
                    raise
                if is_locked(status):  # for as long as a dead frontend's lease lasts
                    attempts.extend(self._path.patience)
                attempts.failed(status)
        raise AssertionError

    def passing(self, status: Status) -> bool:
        """Whether an error may pass: another frontend, or the same one soon, can continue.

        A stream that hasn't begun is refused at once: its client knows when to ask again, and a
        node's database waits for it. If its first message was lost with a frontend, that may have
        locked the ref, and no client knows of it.
        """
        if refuses(status) or (is_locked(status) and self._first_lost and self._alone()):
            return True
        return self.begun and (status.code is Code.UNAVAILABLE or expired(status))

    async def _continue(
        self, stream: RelayStream, message: Message, raw: bytes, *, misplaced: bool
    ) -> pb.WriteContentResponse:
        """Has another frontend take the ref over, and carry out the last message."""
        if message.action is Action.ABORT:
            return await self._deliver(stream, message, self._again(message))
        found = await self.resume(stream)
        if misplaced or (not message.size and self._replay.misplaces(message)):
            return await self._deliver(stream, message, raw)
        self.known.check_commit(message)
        if message.action is Action.WRITE:
            found.action = pb.WRITE
            return found
        return await self._deliver(stream, message, self._again(message))

    async def resume(self, stream: RelayStream) -> pb.WriteContentResponse:
        """Has a frontend get all bytes that it lacks; returns its last reply.

        Raises:
            FrontendLost: it gave no answer, or the bytes must be sent once more.
            Status: its error, or that the ref has other bytes than were sent.
        """
        reply = await self.known.resume(stream, self._path.upstreams.metadata(self._tenant))
        self._path.upstreams.answered()
        return reply

    def _again(self, message: Message) -> bytes:
        return encoded(message, self.known.declared.ref, self._replay.end)

    async def _begin(self, upstream: Upstream) -> RelayStream:
        await upstream.connect()
        metadata = self._path.upstreams.metadata(self._tenant)
        stream = RelayStream(upstream, metadata, self.ended, continues=self.begun)
        self.stream, self.upstream = stream, upstream
        return stream

    async def _deliver(
        self, stream: RelayStream, message: Message, raw: bytes
    ) -> pb.WriteContentResponse:
        commits = message.action is Action.COMMIT
        try:
            reply = await stream.ask(raw, commits=commits)
        except (FrontendLost, Status) as error:
            unknown = (
                isinstance(error, FrontendLost)
                or error.code is Code.UNAVAILABLE
                or expired(error)  # perhaps after it was frozen
            )
            self.known.commit_lost |= commits and unknown
            self._first_lost |= isinstance(error, FrontendLost) and not self.begun
            raise
        self._path.upstreams.answered()
        self.known.note(reply)
        return reply

    async def _confirmed(self, message: Message, status: Status) -> pb.WriteContentResponse:
        """Makes the lost reply of a COMMIT, or raises what was answered to the second one."""
        last = self.known.last or pb.WriteContentResponse()
        digest = digest_of(message, self.known.declared, last)
        if not digest:
            raise status
        request = pb.InfoRequest(digest=digest).SerializeToString()
        answer = await self._path.upstreams.ask(INFO, request, self._tenant, self._path.deadline)
        info = pb.InfoResponse.FromString(answer).info
        if not is_made_by(message, self._replay.end, info):
            raise status
        return committed(info, last)

    # -- the end of a stream to a frontend

    def ended(self, status: Status) -> None:
        """Has the next message asked elsewhere, or the client's stream end, as a status allows.

        A frontend has ended its stream between two messages.
        """
        self.leave(status)
        if not self.passing(status):
            self._interrupted(status)

    def leave(self, error: FrontendLost | Status) -> None:
        """Gives up the stream to the frontend; the bytes stay."""
        self.drop()
        if isinstance(error, FrontendLost) and self.begun:
            log.info(
                "write stream lost its frontend; another continues it", reason=reason_of(error)
            )

    def drop(self) -> None:
        """Breaks the stream to the frontend off."""
        stream = self.take()
        if stream is not None:
            stream.close()

    def take(self) -> RelayStream | None:
        """Returns the stream to the frontend, and has none any more."""
        stream, self.stream = self.stream, None
        return stream
