"""One RPC as its handler sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from holdfast.transport.following import LEFT, UNFOLLOWED, Follower
from holdfast.transport.header_encoding import SUCCESS, compression_refused, encode, trailers
from holdfast.transport.inbox import PREFIX_SIZE, CompressionRefusedError
from holdfast.transport.metadata import encode_metadata
from holdfast.transport.outgoing import Buffer
from holdfast.transport.peers import Peer
from holdfast.transport.reception import Reception, call_is_over
from holdfast.transport.requests import Request
from holdfast.transport.status import Code, Metadata, Status
from holdfast.transport.stream import Stream


class Call(Reception):
    """One RPC: what the client sent with it, and the messages in both directions.

    Only one coroutine at a time may wait for messages of the client, and one for a message to be
    sent.
    """

    __slots__ = (
        "_clock",
        "_deadline",
        "_follower",
        "_sending",
        "_trailers",
        "attachment",
        "ended",
        "metadata",
        "on_end",
        "path",
        "peer",
        "task",
        "timer",
    )

    def __init__(
        self,
        request: Request,
        stream: Stream,
        peer: Peer,
        clock: Callable[[], float],
        follower: Follower = UNFOLLOWED,
    ) -> None:
        """Begins without messages.

        Args:
            request: what the client asks for.
            stream: what carries the call.
            peer: the client.
            clock: monotonic, in s.
            follower: is told of the call.
        """
        super().__init__(stream)
        self.path = request.path
        self.metadata: Metadata = request.metadata
        self.peer = peer
        self._clock = clock
        self._deadline = None if request.timeout is None else clock() + request.timeout
        self.on_end: Callable[[], None] | None = None
        """Called once when the call ends: releases what the call has of what all calls share."""
        self._sending: asyncio.Future[None] | None = None
        self._trailers: Metadata = ()
        self.ended: Code | None = None
        """The status that the client was told, or CANCELLED if it has left; None before that."""
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.attachment: Any = None
        """What the follower keeps with the call."""
        self._follower = follower
        follower.begins(self)

    @property
    def request(self) -> bytes | None:
        """The client's only message, once it has arrived; None if it may send several."""
        return None

    @property
    def received(self) -> int:
        """Bytes of the client's messages that were taken."""
        return self._inbox.taken

    @property
    def sent_bytes(self) -> int:
        """Bytes of the messages that the client was sent."""
        return self._stream.sent_bytes

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline, at least 0; None if it has set none."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def set_headers(self, metadata: Metadata) -> None:
        """Sets metadata that begins the answer; it is sent with the first message, or the status.

        Raises:
            ValueError: a name or a value isn't allowed.
        """
        self._stream.headers = encode(encode_metadata(metadata))

    def set_trailers(self, metadata: Metadata) -> None:
        """Sets metadata that is sent with the call's status.

        Raises:
            ValueError: a name or a value isn't allowed.
        """
        encode_metadata(metadata)
        self._trailers = metadata

    def takes(self, size: int) -> bool:
        """Whether a message of so many bytes could be sent without waiting."""
        return self._stream.takes(size + PREFIX_SIZE)

    async def send(self, *pieces: Buffer) -> None:
        """Sends one message, made of pieces, which aren't joined if they are large.

        Returns when the pieces are needed no longer; it waits for the client's windows and for the
        socket. If it is cancelled, the message is sent all the same, unless the call ends.

        Raises:
            Status: the call is over, or the message is larger than messages may be.
        """
        stream = self._stream
        while stream.busy:
            await self._wait_until_sent()
        self._check_over()
        stream.send(pieces)
        while stream.busy:
            await self._wait_until_sent()

    async def _wait_until_sent(self) -> None:
        self._check_over()
        if self._sending is not None:
            raise RuntimeError("two coroutines send messages of one call")
        self._sending = asyncio.get_running_loop().create_future()
        try:
            await self._sending
        finally:
            self._sending = None

    # The transport's side.

    def start_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the call at the client's deadline."""
        remaining = self.time_remaining()
        if remaining is not None:
            late = Status(Code.DEADLINE_EXCEEDED, "the deadline has passed")
            self.timer = loop.call_later(remaining, self.abort, late)

    def send_at_once(self, messages: Sequence[Sequence[Buffer]]) -> bool:
        """Sends several messages, if that needs no waiting; else it sends none."""
        stream = self._stream
        if not stream.answers_at_once(sum(sum(map(len, one)) + PREFIX_SIZE for one in messages)):
            return False
        for one in messages:
            stream.send(one)
        return True

    def finish(self, status: Status | None = None) -> None:
        """Ends the call with a status, which is OK if none is given, unless it has ended.

        Raises:
            ValueError: the status has trailers that can't be sent; the call hasn't ended then.
        """
        if self.over:
            return
        if status is not None:
            encode_metadata(status.trailers)
        self.ended = Code.OK if status is None else status.code
        added = self._end(status)
        stream = self._stream
        if status is None:
            stream.finish(trailers(Code.OK, "", self._trailers) if self._trailers else SUCCESS)
        elif isinstance(status, CompressionRefusedError):
            stream.finish(compression_refused(status.message), at_once=True)
        else:
            metadata = [*self._trailers, *status.trailers, *added]
            failed = status.code is not Code.OK
            stream.end(status.code, status.message, metadata, at_once=failed)

    def abort(self, status: Status) -> None:
        """Ends the call with a status, and cancels its handler."""
        self.finish(status)
        self._cancel()

    def lost(self) -> None:
        """Ends the call because the client has left, and cancels its handler."""
        if not self.over:
            self.ended = Code.CANCELLED
            self._end(LEFT)
        self._cancel()

    def enter(self) -> None:
        """The handler begins, in the current task."""
        self._follower.enters(self)

    def _end(self, status: Status | None) -> Metadata:
        """Releases what the call has; returns what is added to the trailers of a failure."""
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
        told, self.on_end = self.on_end, None
        if told is not None:
            told()
        return self._follower.ends(self, status)

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
        # Others than the handler's own task may wait.
        self.interrupt(call_is_over())
        if self._sending is not None and not self._sending.done():
            self._sending.set_exception(call_is_over())

    def sent(self) -> None:
        """The message that was being sent needs its pieces no longer."""
        if self._sending is not None and not self._sending.done():
            self._sending.set_result(None)
