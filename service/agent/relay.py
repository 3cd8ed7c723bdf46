"""One client's write stream, carried through as many streams to frontends as it takes.

    a message ──▶ the frontend ──▶ its reply, unchanged ──▶ the client
                     │ lost
                     ▼
    another frontend ──▶ STAT ──▶ the bytes that it doesn't have ──▶ what was asked last

What the client sends is kept until a frontend says that it would outlive it (`kept` in its
replies). A reply that was lost is asked for again; a COMMIT that took effect is recognised.
`continuation.py` has the states of a ref between two frontends, and what each reply allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.continuation import Continuation
from holdfast.service.agent.lost_commits import committed, digest_of, encoded, is_made_by
from holdfast.service.agent.outcomes import FrontendLost, expired, reason_of, refuses
from holdfast.service.agent.relay_stream import RelayStream
from holdfast.service.agent.replay import Replay
from holdfast.service.agent.room import ReplayRoom
from holdfast.service.agent.upstream import Upstream
from holdfast.service.agent.upstreams import Attempts, Upstreams
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.transport.status import Code, Status

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

SILENCE: Final = 1.0
"""Seconds without a message after which a stream's bytes are made durable, if others wait for
room."""
FAREWELL: Final = 5.0
"""Seconds that a frontend has to end a stream after its last reply."""
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


class WriteRelay:
    """One client's stream. Its messages come one at a time; `relieve` may run between them.

    Attributes:
        tenant: whose stream it is.
        upstream: the frontend that it is written through, or was last; None before the first.
    """

    def __init__(self, path: RelayPath, tenant: str, interrupt: Callable[[Status], None]) -> None:
        """Asks no frontend yet.

        Args:
            path: what it shares with other streams.
            tenant: the client.
            interrupt: called with the status of a stream that ends while its client is silent.
        """
        self.upstream: Upstream | None = None
        self._path = path
        self.tenant = tenant
        self._interrupt = interrupt
        self._turn = asyncio.Lock()
        self._share = path.room.join(self)
        self._replay = Replay(self._share)
        self._admitted = 0
        self._silent_since = path.clock()
        self._stream: RelayStream | None = None
        self._known = Continuation(self._replay)
        self._misplaced = False  # whether the last message's bytes don't follow those before
        self._over = False
        self._failure: Status | None = None

    @property
    def ref(self) -> str:
        """The ref that it writes; "" before its first message."""
        return self._known.declared.ref

    async def admit(self, announced: int) -> None:
        """Waits until there is room for the next message, of so many bytes.

        Raises:
            ResourceExhausted: the message is larger than the room.
            Status: the stream has ended.
        """
        if self._failure is not None:
            raise self._failure
        await self._share.take(announced)
        self._admitted += announced

    async def ask(self, message: Message, raw: bytes) -> pb.WriteContentResponse:
        """Has a message carried out, and returns the reply.

        Args:
            message: what the client asks for.
            raw: the same, as it came.

        Raises:
            Status: the frontend's error, or that none continued the stream in time.
            FrontendLost: no frontend could be asked.
        """
        async with self._turn:
            try:
                if self._failure is not None:
                    raise self._failure
                self._accept(message)
                self._known.check_commit(message)
                reply = await self._carried_out(message, raw)
                if message.action in {Action.COMMIT, Action.ABORT}:
                    await self._finish()
            except (FrontendLost, Status):
                self._over = True  # its frontend keeps what it has, and there is no other
                raise
            finally:
                self._silent_since = self._path.clock()
        reply.ClearField("kept")
        return reply

    def _accept(self, message: Message) -> None:
        """Keeps what a message says, and its bytes."""
        self._share.give_back(self._admitted - message.size)
        self._admitted = 0
        self._known.declare(message)
        self._misplaced = not self._replay.accept(message)
        if self._misplaced:  # the frontend refuses it
            self._share.give_back(message.size)

    # -- one frontend after another

    async def _carried_out(self, message: Message, raw: bytes) -> pb.WriteContentResponse:
        stream = self._stream
        if stream is not None:
            try:
                return await self._deliver(stream, message, raw)
            except FrontendLost as lost:
                self._leave(lost)
            except Status as status:
                self._leave(status)
                if not self._passing(status):
                    raise
        return await self._elsewhere(message, raw)

    async def _elsewhere(self, message: Message, raw: bytes) -> pb.WriteContentResponse:
        """Has a message carried out through a new stream, to whichever frontend can do it."""
        path, begun = self._path, self._known.last is not None
        attempts = path.upstreams.attempts(path.patience if begun else path.deadline, hopeful=begun)
        first = self.upstream is None

        async def through(stream: RelayStream) -> pb.WriteContentResponse:
            nonlocal first
            asked, first = first, False
            return await (self._deliver if asked else self._continue)(stream, message, raw)

        try:
            return await self._on_another(attempts, through)
        except Status as status:
            if status.code is Code.ALREADY_EXISTS and self._known.commit_lost:
                return await self._confirmed(message, status)
            raise

    async def _on_another(
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
                self._leave(lost)
                attempts.failed(lost)
            except Status as status:
                self._leave(status)
                if not self._passing(status):
                    raise
                attempts.failed(status)
        raise AssertionError

    def _passing(self, status: Status) -> bool:
        """Whether an error may pass: another frontend, or the same one soon, can continue.

        A stream that hasn't begun is refused at once: its client knows when to ask again, and a
        node's database waits for it.
        """
        if refuses(status):
            return True
        begun = self._known.last is not None
        return begun and (status.code is Code.UNAVAILABLE or expired(status))

    async def _continue(
        self, stream: RelayStream, message: Message, raw: bytes
    ) -> pb.WriteContentResponse:
        """Has another frontend take the ref over, and carry out the last message."""
        if message.action is Action.ABORT:
            return await self._deliver(stream, message, self._again(message))
        found = await self._resume(stream)
        replay = self._replay
        if self._misplaced or (not message.size and replay.misplaces(message)):
            return await self._deliver(stream, message, raw)
        self._known.check_commit(message)
        if message.action is Action.WRITE:
            found.action = pb.WRITE
            return found
        return await self._deliver(stream, message, self._again(message))

    async def _resume(self, stream: RelayStream) -> pb.WriteContentResponse:
        reply = await self._known.resume(stream, self._path.upstreams.metadata(self.tenant))
        self._path.upstreams.answered()
        return reply

    def _again(self, message: Message) -> bytes:
        return encoded(message, self.ref, self._replay.end)

    async def _begin(self, upstream: Upstream) -> RelayStream:
        await upstream.connect()
        metadata = self._path.upstreams.metadata(self.tenant)
        stream = RelayStream(upstream, metadata, self._ended)
        self._stream, self.upstream = stream, upstream
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
            self._known.commit_lost |= commits and unknown
            raise
        self._path.upstreams.answered()
        self._known.note(reply)
        return reply

    async def _confirmed(self, message: Message, status: Status) -> pb.WriteContentResponse:
        """Makes the lost reply of a COMMIT, or raises what was answered to the second one."""
        last = self._known.last or pb.WriteContentResponse()
        digest = digest_of(message, self._known.declared, last)
        if not digest:
            raise status
        request = pb.InfoRequest(digest=digest).SerializeToString()
        answer = await self._path.upstreams.ask(INFO, request, self.tenant, self._path.deadline)
        info = pb.InfoResponse.FromString(answer).info
        if not is_made_by(message, self._replay.end, info):
            raise status
        return committed(info, last)

    # -- room for others

    async def relieve(self) -> None:
        """Releases the room of what is durable; makes it so if the client is silent."""
        async with self._turn:
            if self._over or not self._share.kept:
                return
            try:
                await self._relieve()
            except FrontendLost as lost:
                self._leave(lost)
            except Status as status:
                self._leave(status)
                if not self._passing(status):
                    self._fail(status)

    async def _relieve(self) -> None:
        if self._known.last is None:
            return  # its first message hasn't been answered
        if self._stream is not None:
            stat = pb.WriteContentRequest(action=pb.STAT).SerializeToString()
            self._known.note(await self._stream.ask(stat))
        silent = self._path.clock() - self._silent_since >= SILENCE
        if self._share.kept and silent:
            await self._settle()

    async def _settle(self) -> None:
        """Ends the frontend's stream, so that it stores what it has, and begins another one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.end(self._path.grace)
        path = self._path
        attempts = path.upstreams.attempts(path.grace, self.upstream, hopeful=True)
        await self._on_another(attempts, self._resume)

    # -- the end

    def _leave(self, error: FrontendLost | Status) -> None:
        """Gives up the stream to the frontend; the bytes stay."""
        self._drop()
        if isinstance(error, FrontendLost) and self._known.last is not None:
            log.info(
                "write stream lost its frontend; another continues it", reason=reason_of(error)
            )

    def _ended(self, status: Status) -> None:
        """Has the next message asked elsewhere, or the stream fail, once a frontend has ended it.

        That was between two messages.
        """
        self._leave(status)
        if not self._passing(status):
            self._fail(status)

    def _fail(self, status: Status) -> None:
        """Ends the stream for good, whatever its client waits for."""
        if self._failure is None and not self._over:
            self._over, self._failure = True, status
            self._share.refuse(status)
            self._interrupt(status)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _finish(self) -> None:
        """Lets the frontend end the stream after its last reply."""
        self._over = True
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                await stream.end(FAREWELL)
            except (FrontendLost, Status) as error:
                log.debug("frontend failed to end a stream", reason=reason_of(error))

    async def close(self) -> None:
        """Ends the stream: what was received is made durable within the grace."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._path.grace):
                    await self._close()
            except (FrontendLost, Status, TimeoutError) as error:
                self._drop()
                log.info("write stream ended before its bytes were kept", reason=reason_of(error))
            finally:
                self._over = True
                self._share.close()

    async def _close(self) -> None:
        stream, self._stream = self._stream, None
        if self._over:
            if stream is not None:  # a message was refused here
                await stream.end(FAREWELL)
            return
        attempts = self._path.upstreams.attempts(self._path.grace, self.upstream, hopeful=True)
        if stream is not None:
            try:
                await stream.end(attempts.left)
            except FrontendLost as lost:
                self._leave(lost)
            except Status as status:
                if not self._passing(status):
                    raise
            else:
                return
        if self._known.last is not None and self._share.kept > self._admitted:
            await self._on_another(attempts, self._resumed_and_ended)

    async def _resumed_and_ended(self, stream: RelayStream) -> None:
        await self._resume(stream)
        self._stream = None
        await stream.end(self._path.grace)
