"""One stream: its number, its windows, and which sides have ended it (RFC 9113, section 5.1)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from holdfast.transport import frames
from holdfast.transport.errors import ErrorCode
from holdfast.transport.header_encoding import RESPONSE, http_error, trailers
from holdfast.transport.inbox import Inbox
from holdfast.transport.outgoing import Buffer, Outgoing
from holdfast.transport.status import Code, Metadata, Status


class Receiver(Protocol):
    """The RPC that a stream carries."""

    def feed(self, piece: memoryview, *, last: bool) -> None:
        """Takes bytes that the client sent; `last` if nothing follows."""

    def sent(self) -> None:
        """The message that was being sent needs its pieces no longer."""

    def lost(self) -> None:
        """The client has left: it has reset the stream, or the connection is gone."""

    def abort(self, status: Status) -> None:
        """Ends the call with a status, and cancels its handler."""

    task: asyncio.Task[None] | None


class Stream:
    """One stream, from the client's header block until both sides have ended it."""

    __slots__ = (
        "_begun",
        "_ended",
        "_epilogue",
        "_mark",
        "_marked",
        "_out",
        "busy",
        "call",
        "closed",
        "expected",
        "headers",
        "inbox",
        "left",
        "number",
        "queued",
        "sent_bytes",
        "waiting",
        "window",
    )

    def __init__(
        self,
        number: int,
        out: Outgoing,
        inbox: Inbox,
        *,
        window: int,
        expected: int | None,
        ended: Callable[[Stream], None],
    ) -> None:
        """Begins open.

        Args:
            number: the stream's number.
            out: what the connection sends.
            inbox: what the client sends.
            window: bytes of DATA that the client accepts.
            expected: bytes of DATA that the client will send, if it says so.
            ended: told once the stream is closed by this side.
        """
        self.number = number
        self._out = out
        self.inbox = inbox
        self.window = window
        self.expected = expected
        self._ended = ended
        self._begun = False
        self._epilogue = b""
        self._mark: tuple[int, int] | None = None
        self._marked = 0.0
        self.call: Receiver | None = None
        self.closed = False
        """Whether nothing more can be sent."""
        self.waiting: deque[memoryview] = deque()
        """Pieces of the message that waits for a window."""
        self.left = 0
        """Their bytes."""
        self.headers = b""
        """Fields that begin the answer, in addition to those of gRPC."""
        self.busy = False
        """Whether the pieces of the last message are still needed."""
        self.sent_bytes = 0
        """Bytes of the messages that were sent, or wait for a window."""
        self.queued = False
        """Whether the stream waits for its turn."""

    def send(self, pieces: Sequence[Buffer]) -> bool:
        """Sends a message; returns False if a part of it must wait: `Receiver.sent` follows.

        Raises:
            Status: it is larger than messages may be.
        """
        size = sum(map(len, pieces))
        if size > self.inbox.limit:
            raise Status(
                Code.RESOURCE_EXHAUSTED,
                f"an answer of {size} bytes is larger than {self.inbox.limit}, the most",
            )
        if not self._begun:
            self._begun = True
            self._out.write(self._out.headers(self.number, RESPONSE + self.headers, end=False))
        self.sent_bytes += size
        return self._out.message(self, pieces, size)

    def answers_at_once(self, size: int) -> bool:
        """Whether the windows are large enough for so many bytes of messages."""
        out = self._out
        return not self.left and not out.paused and size <= min(self.window, out.window)

    def takes(self, size: int) -> bool:
        """Whether so many bytes of messages could be sent without waiting."""
        return not self.busy and size <= self.window and self._out.takes(size)

    def finish(self, block: bytes, *, at_once: bool = False) -> None:
        """Ends the stream with trailers.

        Args:
            block: the trailers.
            at_once: whether a message that waits is dropped; else it is sent before.
        """
        if self.closed or self._epilogue:
            return
        if at_once:
            self._out.forget(self)
        if not self._begun:
            block = RESPONSE + self.headers + block
        frame = self._out.headers(self.number, block, end=True)
        if self.left:
            self._epilogue = frame
            return
        self._out.write(frame)
        self._close()

    def end(self, code: Code, message: str, metadata: Metadata = (), *, at_once: bool) -> None:
        """Ends the stream with a status, whose message the client can receive; see `finish`.

        Raises:
            ValueError: the metadata isn't gRPC's.
        """
        most = self._out.max_header_list - (0 if self._begun else len(self.headers))
        self.finish(trailers(code, message, metadata, most), at_once=at_once)

    def answer_http(self, status: int, text: bytes) -> None:
        """Answers a request that isn't gRPC."""
        if self._begun:
            return
        self._begun = True
        self._out.write(self._out.headers(self.number, http_error(status), end=False))
        self._epilogue = frames.frame(frames.DATA, frames.END_STREAM, self.number)
        self._out.body(self, text)

    def reset(self, code: ErrorCode) -> None:
        """Ends the stream at once with RST_STREAM."""
        if not self.closed:
            self._out.forget(self)
            self.closed = True
            self._out.write(frames.rst_stream(self.number, code))
            self._ended(self)

    def lost(self) -> None:
        """Ends the stream because the client did, without a word."""
        self._out.forget(self)
        self.closed = True
        if self.call is not None:
            self.call.lost()

    def stalled(self, now: float) -> float:
        """Returns for how many seconds no byte has moved that waits for the client.

        It is called every few seconds, and notices only what doesn't move from one call to another.

        Args:
            now: in s.
        """
        waits = self.left or self.inbox.lacking
        mark = (self.left, self.inbox.arrived) if waits else None
        if mark is None or mark != self._mark:
            self._mark, self._marked = mark, now
        return now - self._marked

    def framed(self) -> None:
        """Everything that waited is on its way: trailers may follow."""
        if self._epilogue:
            self._out.write(self._epilogue)
            self._close()

    def sent(self) -> None:
        """The pieces that waited are needed no longer."""
        self.busy = False
        if self.call is not None:
            self.call.sent()

    def open(self, most: int) -> None:
        """Lets the first `most` bytes of the next message come."""
        more = self.inbox.ask(most)
        self.credit()
        if more:
            self._out.hasten()  # the client needs a while, too
            self.inbox.reserve()

    def credit(self) -> None:
        """Opens the stream's window as far as needed."""
        due = self.inbox.credit()
        if due and not self.closed:
            self._out.write(frames.window_update(self.number, due))

    def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if not self.inbox.ended:
            # The client may stop sending: the answer is complete (section 8.1).
            self._out.write(frames.rst_stream(self.number, ErrorCode.NO_ERROR))
        self._ended(self)
