"""One client's write stream: its messages, the room of its bytes, and its end.

What the client sends is kept until a frontend says that it would outlive it (`kept` in its
replies). `passage.py` carries the messages out, through as many frontends as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.outcomes import FrontendLost, reason_of
from holdfast.service.agent.passage import Passage, RelayPath
from holdfast.service.agent.relay_stream import RelayStream
from holdfast.service.agent.replay import Replay
from holdfast.service.agent.upstream import Upstream
from holdfast.service.ingest.arrival import Arrival, MessageSource
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.transport.status import Status

log = structlog.get_logger(__name__)

SILENCE: Final = 1.0
"""Seconds without a message after which a stream's bytes are made durable, if others wait for
room."""
FAREWELL: Final = 5.0
"""Seconds that a frontend has to end a stream after its last reply."""


class WriteRelay:
    """One client's stream. Its messages come one at a time; `relieve` may run between them.

    Attributes:
        tenant: whose stream it is.
    """

    def __init__(
        self,
        path: RelayPath,
        tenant: str,
        client: MessageSource,
        alone: Callable[[WriteRelay], bool],
    ) -> None:
        """Asks no frontend yet.

        Args:
            path: what it shares with other streams.
            tenant: the client's.
            client: gets the status of a stream that ends while it is silent.
            alone: says whether no other stream of this agent writes a stream's ref.
        """
        self.tenant = tenant
        self._path = path
        self._client = client
        self._turn = asyncio.Lock()
        self._share = path.room.join(self)
        self._replay = Replay(self._share)
        self._passage = Passage(path, tenant, self._replay, self._fail, partial(alone, self))
        self._admitted = 0  # bytes that have room, and haven't come yet
        self._arrival: Arrival | None = None
        self._silent_since = path.clock()
        self._over = False
        self._failure: Status | None = None

    @property
    def ref(self) -> str:
        """The ref that it writes; "" before its first message."""
        return self._passage.known.declared.ref

    @property
    def upstream(self) -> Upstream | None:
        """The frontend that it is written through, or was last; None before the first."""
        return self._passage.upstream

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
        self._arrival = Arrival(self._client, self._path.clock())

    async def ask(self, message: Message, raw: bytes) -> pb.WriteContentResponse:
        """Has a message carried out, and returns the reply.

        Args:
            message: what the client asks for.
            raw: the same, as it came.

        Raises:
            Status: the frontend's error, or that none continued the stream in time.
            FrontendLost: no frontend could be asked.
        """
        self._arrival = None
        async with self._turn:
            try:
                if self._failure is not None:
                    raise self._failure
                misplaced = not self._accept(message)
                self._passage.known.check_commit(message)
                reply = await self._passage.carry_out(message, raw, misplaced=misplaced)
                if message.action in {Action.COMMIT, Action.ABORT}:
                    await self._finish()
            except (FrontendLost, Status):
                self._over = True  # its frontend keeps what it has, and there is no other
                raise
            finally:
                self._silent_since = self._path.clock()
        reply.ClearField("kept")
        return reply

    def _accept(self, message: Message) -> bool:
        """Keeps what a message says, and its bytes; returns False if they don't follow others."""
        self._share.give_back(self._admitted - message.size)
        self._admitted = 0
        self._passage.known.declare(message)
        accepted = self._replay.accept(message)
        if not accepted:  # the frontend refuses it
            self._share.give_back(message.size)
        return accepted

    # -- room for others

    async def relieve(self) -> None:
        """Releases the room of what is durable; makes it so if the client is silent.

        A message that stands still, or comes too slowly, ends the stream: its room can't be
        released before it has come.
        """
        async with self._turn:
            if self._over:
                return
            self._give_up_arrival()
            if not self._releasable:
                return
            try:
                await self._relieve()
            except FrontendLost as lost:
                self._passage.leave(lost)
            except Status as status:
                self._passage.ended(status)

    @property
    def _releasable(self) -> bool:
        """Whether it keeps bytes that have come."""
        return self._share.kept > self._admitted

    def _give_up_arrival(self) -> None:
        arrival, now = self._arrival, self._path.clock()
        if arrival is not None and arrival.due(now) <= now:
            self._arrival = None
            arrival.give_up()

    async def _relieve(self) -> None:
        passage = self._passage
        if not passage.begun:
            return  # its first message hasn't been answered
        if passage.stream is not None:
            stat = pb.WriteContentRequest(action=pb.STAT).SerializeToString()
            passage.known.note(await passage.stream.ask(stat))
        silent = self._path.clock() - self._silent_since >= SILENCE
        if self._releasable and silent:
            await self._settle()

    async def _settle(self) -> None:
        """Ends the frontend's stream, so that it stores what it has, and begins another one."""
        passage, path = self._passage, self._path
        stream = passage.take()
        if stream is not None:
            await stream.end(path.grace)
        attempts = path.upstreams.attempts(path.grace, passage.upstream, hopeful=True)
        await passage.on_another(attempts, passage.resume)

    # -- the end

    def _fail(self, status: Status) -> None:
        """Ends the stream for good, whatever its client waits for."""
        if self._failure is None and not self._over:
            self._over, self._failure = True, status
            self._share.refuse(status)
            self._client.interrupt(status)

    async def _finish(self) -> None:
        """Lets the frontend end the stream after its last reply."""
        self._over = True
        stream = self._passage.take()
        if stream is not None:
            try:
                await stream.end(FAREWELL)
            except (FrontendLost, Status) as error:
                log.debug("frontend failed to end a stream", reason=reason_of(error))

    async def close(self) -> None:
        """Ends the stream: what was received is made durable within the grace."""
        self._arrival = None
        async with self._turn:
            self._share.give_back(self._admitted)
            self._admitted = 0
            try:
                async with asyncio.timeout(self._path.grace):
                    await self._close()
            except (FrontendLost, Status, TimeoutError) as error:
                self._passage.drop()
                log.info("write stream ended before its bytes were kept", reason=reason_of(error))
            finally:
                self._over = True
                self._share.close()

    async def _close(self) -> None:
        passage, path = self._passage, self._path
        stream = passage.take()
        if self._over:
            if stream is not None:  # a message was refused here
                await stream.end(FAREWELL)
            return
        attempts = path.upstreams.attempts(path.grace, passage.upstream, hopeful=True)
        if stream is not None:
            try:
                await stream.end(attempts.left)
            except FrontendLost as lost:
                passage.leave(lost)
            except Status as status:
                if not passage.passing(status):
                    raise
            else:
                return
        if passage.begun and self._releasable:
            await passage.on_another(attempts, self._resumed_and_ended)

    async def _resumed_and_ended(self, stream: RelayStream) -> None:
        await self._passage.resume(stream)
        self._passage.take()
        await stream.end(self._path.grace)
