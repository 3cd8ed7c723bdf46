"""From a request to its handler, and from what that does to the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from holdfast.tasks import begin
from holdfast.transport.call import Call
from holdfast.transport.counts import Counts, Refusal
from holdfast.transport.errors import ErrorCode
from holdfast.transport.following import UNFOLLOWED, Follower
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.header_encoding import trailers
from holdfast.transport.limits import Limits
from holdfast.transport.outgoing import Buffer
from holdfast.transport.peers import Peer
from holdfast.transport.requests import METHOD_NOT_ALLOWED, Request
from holdfast.transport.status import Code, Status
from holdfast.transport.stream import Stream

ONE_MESSAGE: Final = Status(Code.UNIMPLEMENTED, "this RPC's request is exactly one message")
CUT: Final = Status(Code.INVALID_ARGUMENT, "the request is incomplete")
INTERNAL: Final = Status(Code.INTERNAL, "internal error; the server's log has more")
CANCELLED: Final = Status(Code.CANCELLED, "the server has cancelled the call")


class Serving:
    """The handlers of a server, and the calls that are under way."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        limits: Limits,
        counts: Counts,
        *,
        clock: Callable[[], float],
        unexpected: Callable[[str, BaseException], None],
        follower: Follower = UNFOLLOWED,
    ) -> None:
        """Begins without calls.

        Args:
            handlers: by path.
            limits: bounds of messages.
            counts: counts calls and messages.
            clock: monotonic, in s.
            unexpected: told of what a handler raises that isn't a `Status`, with the path.
            follower: is told of each call.
        """
        self._follower = follower
        self._handlers = handlers
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._unexpected = unexpected
        self._waiting = 0  # bytes of requests that arrive
        self._windows = limits.windows  # bytes by which windows may still be widened
        self.tasks: set[asyncio.Task[None]] = set()
        """Handlers under way, those of calls that are over included."""

    def begin(self, request: Request, stream: Stream, peer: Peer) -> None:
        """Begins what a request asks for."""
        if request.refusal:
            stream.call = Refused(request.refusal, stream)
            return
        if request.status is not None:
            stream.end(request.status.code, request.status.message, at_once=True)
            return
        handler = self._handlers.get(request.path)
        if handler is None:
            stream.finish(trailers(Code.UNIMPLEMENTED, "there is no such RPC", ()))
            return
        self._counts.calls += 1
        if isinstance(handler, Bidirectional):
            call = Call(request, stream, peer, self._clock, self._follower)
            stream.call = call
            self._widen(call, stream)
            self.start(call, partial(handler.handle, call))
        else:
            call = RequestCall(
                request, stream, peer, self._clock, self._follower, handler=handler, serving=self
            )
            stream.call = call
        call.start_timer(asyncio.get_running_loop())

    def _widen(self, call: Call, stream: Stream) -> None:
        """Widens a stream's window, if there is enough for it, until its call ends.

        The client learns of it with the next update of the window.
        """
        more = self._limits.stream_window - self._limits.first_window
        if 0 < more <= self._windows:
            self._windows -= more
            stream.inbox.base += more
            call.on_end = partial(self._narrow, more)

    def _narrow(self, more: int) -> None:
        self._windows += more

    def start(self, call: Call, work: Callable[[], Awaitable[None]]) -> None:
        """Begins the task of a handler, which begins with `work`."""
        call.task = task = begin(self._carry_out(call, work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _carry_out(self, call: Call, work: Callable[[], Awaitable[None]]) -> None:
        call.enter()
        try:
            await work()
        except Status as status:
            self.end(call, status)
        except asyncio.CancelledError:
            self.end(call, CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001 -- reported, and the client is answered
            self._unexpected(call.path, error)
            self.end(call, INTERNAL)
        else:
            self.end(call, None)

    def end(self, call: Call, status: Status | None) -> None:
        """Ends a call as its handler asks for; OK if there is no status."""
        try:
            call.finish(status)
        except ValueError as error:  # trailers that can't be sent
            self._unexpected(call.path, error)
            call.finish(INTERNAL)

    def unexpected(self, call: Call, error: Exception) -> None:
        """Ends a call whose handler has failed."""
        self._unexpected(call.path, error)
        call.finish(INTERNAL)

    def reserve(self, size: int) -> None:
        """Counts bytes that a request needs while it arrives.

        Raises:
            Status: too many.
        """
        if self._waiting + size > self._limits.max_waiting_requests:
            self._counts.refused[Refusal.REQUESTS] += 1
            raise Status(Code.RESOURCE_EXHAUSTED, "too many requests are being received: try again")
        self._waiting += size

    def release(self, size: int) -> None:
        """Counts them no longer."""
        self._waiting -= size


class Refused:
    """A request that isn't gRPC: answered with an HTTP status once it is there, or too long."""

    __slots__ = ("_status", "_stream", "task")

    def __init__(self, status: int, stream: Stream) -> None:
        """Begins before the request's body.

        Args:
            status: the answer.
            stream: what carries it.
        """
        self._status = status
        self._stream = stream
        self.task: asyncio.Task[None] | None = None

    def feed(self, piece: memoryview, *, last: bool) -> None:
        """Discards what the client sends; answers at its end, or after half a window."""
        del piece
        inbox = self._stream.inbox
        inbox.ended = last
        if last or inbox.window < inbox.base // 2:
            wrong_method = self._status == METHOD_NOT_ALLOWED
            text = b"gRPC needs POST\n" if wrong_method else b"this server speaks gRPC only\n"
            self._stream.answer_http(self._status, text)

    def sent(self) -> None:
        """The answer is on its way."""

    def lost(self) -> None:
        """The client has left."""

    def abort(self, status: Status) -> None:
        """Ends the stream without an answer."""
        del status
        self._stream.reset(ErrorCode.CANCEL)


class RequestCall(Call):
    """A call whose request is one message: its handler begins when that has arrived."""

    __slots__ = ("_handler", "_message", "_reserved", "_serving")

    def __init__(
        self,
        request: Request,
        stream: Stream,
        peer: Peer,
        clock: Callable[[], float],
        follower: Follower,
        *,
        handler: Unary | ServerStream,
        serving: Serving,
    ) -> None:
        super().__init__(request, stream, peer, clock, follower)
        self._handler = handler
        self._serving = serving
        self._message: bytes | None = None
        self._reserved = 0

    @property
    def request(self) -> bytes | None:
        """See `Call`."""
        return self._message

    def feed(self, piece: memoryview, *, last: bool) -> None:
        """Takes bytes that the client sent; `last` if nothing follows."""
        if self.over:
            return
        inbox = self._inbox
        inbox.ended = last
        inbox.feed(piece)
        try:
            if self._message is None and inbox.complete:
                self._message = bytes(inbox.take())
            if self._message is None:
                self._expect_more(last=last)
            elif inbox.rest:
                self.finish(ONE_MESSAGE)
            elif last:
                self._serve(self._message)
        except Status as status:
            self._serving.end(self, status)
        except Exception as error:  # noqa: BLE001 -- reported, and the client is answered
            self._serving.unexpected(self, error)

    def _expect_more(self, *, last: bool) -> None:
        inbox = self._inbox
        if last:
            self.finish(CUT if inbox.cut else ONE_MESSAGE)
            return
        more = (inbox.beyond or inbox.base) - self._reserved
        if more > 0:
            self._serving.reserve(more)
            self._reserved += more
            self.on_end = partial(self._serving.release, self._reserved)
        if inbox.beyond:
            self._stream.open(inbox.limit)

    def _serve(self, message: bytes) -> None:
        handler = self._handler
        if isinstance(handler, Unary):
            self._serve_unary(handler, message)
            return
        messages = None if handler.at_once is None else handler.at_once(message, self)
        if messages is None:
            self._serving.start(self, partial(handler.handle, message, self))
        elif self.send_at_once(messages):
            self.finish()
        else:
            self._serving.start(self, partial(self._send_all, messages))

    def _serve_unary(self, handler: Unary, message: bytes) -> None:
        answer = None if handler.at_once is None else handler.at_once(message, self)
        if answer is None:
            self._serving.start(self, partial(self._answer, handler, message))
        else:
            self._stream.send((answer,))
            self.finish()

    async def _answer(self, handler: Unary, message: bytes) -> None:
        answer = await handler.handle(message, self)
        if not self.over:
            self._stream.send((answer,))

    async def _send_all(self, messages: Sequence[Sequence[Buffer]]) -> None:
        for pieces in messages:
            await self.send(*pieces)
