"""Everything that a connection sends: frames in their order, DATA as far as windows allow.

A message is sent from its pieces, without joining them, if it is large; a small one is copied into
one frame. A message that can't be sent at once waits at its stream; streams with such a message
take turns, a slice each; after `TURN` bytes other connections get theirs. If the kernel's buffer
is full, no more DATA is handed over until it has taken everything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from holdfast.transport import frames
from holdfast.transport.counts import Counts
from holdfast.transport.guard import Guard
from holdfast.transport.header_encoding import TABLE_UNUSED, USUAL
from holdfast.transport.inbox import PREFIX, PREFIX_SIZE

if TYPE_CHECKING:
    from holdfast.transport.stream import Stream

Buffer = bytes | bytearray | memoryview

COPIED: Final = 2**14
"""Bytes of a message up to which it is copied into one piece: cheaper than several."""
SLICE: Final = 2**16
"""Bytes of one stream's turn, if others of its connection wait, too."""
TURN: Final = 2**18
"""Bytes of one connection's turn: then the loop serves others, some 100 µs later."""
BEGINNING: Final = Struct(">IBIBI")
"""A frame's header, and a message's prefix."""


class Outgoing:
    """What one connection sends."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        guard: Guard,
        counts: Counts,
        *,
        encrypted: bool,
        most_waiting: int,
        broken: Callable[[], None],
    ) -> None:
        """Begins with the protocol's first windows.

        Args:
            transport: what carries the bytes.
            loop: the loop of all calls.
            guard: told of DATA that is sent.
            counts: counts messages and bytes.
            encrypted: whether the transport makes a record of TLS of each piece.
            most_waiting: bytes that may wait in the transport.
            broken: called once more wait: the client doesn't read what it asks for.
        """
        self._transport = transport
        self._loop = loop
        self._guard = guard
        self._counts = counts
        self._encrypted = encrypted
        self._most_waiting = most_waiting
        self._broken = broken
        self._frames: list[Buffer] = []
        self._size = 0
        self._scheduled = False
        self._pumping = False
        self._ready: deque[Stream] = deque()
        self._unwritten: list[Stream] = []
        self.table_is_smaller = False
        """Whether the client made its header table smaller, which the next block must answer."""
        self.corked = False
        """Whether somebody will flush: frames that answer one read go out together."""
        self.paused = False
        """Whether the socket's buffer is full."""
        self.window = frames.FIRST_WINDOW
        """Bytes of DATA that the client accepts on all streams."""
        self.max_header_list = USUAL
        """Bytes of a header list that the client accepts, by HPACK's count."""
        self.max_frame = frames.SHORTEST_MAX_FRAME
        """Bytes of a frame's payload that the client accepts."""

    def write(self, frame: bytes) -> None:
        """Sends a frame that needs no window, after all that was sent before."""
        self._frames.append(frame)
        self._size += len(frame)
        if self.corked or self._scheduled:
            return
        self._scheduled = True
        self._loop.call_soon(self._flush_soon)

    def hasten(self) -> None:
        """Sends what was written now, not in the loop's next turn, unless somebody will flush."""
        if not self.corked:
            self.flush()

    def _flush_soon(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Hands everything to the transport."""
        pending = self._frames
        if pending:
            self._counts.bytes_out += self._size
            self._frames, self._size = [], 0
            if not self._transport.is_closing():
                if len(pending) == 1:
                    self._transport.write(pending[0])
                elif self._encrypted:
                    # A record for each frame's nine bytes costs more than copying all once more.
                    self._transport.write(b"".join(pending))
                else:
                    self._transport.writelines(pending)
            if self.paused and self._transport.get_write_buffer_size() > self._most_waiting:
                self._broken()
        if self._unwritten and not self.paused:
            written, self._unwritten = self._unwritten, []
            for stream in written:
                stream.sent()

    def headers(self, stream: int, block: bytes, *, end: bool) -> bytes:
        """Returns the frames of a header block, which must be written next."""
        if self.table_is_smaller:
            self.table_is_smaller = False
            block = TABLE_UNUSED + block
        return frames.headers(stream, block, end=end, most=self.max_frame)

    def message(self, stream: Stream, pieces: Sequence[Buffer], size: int) -> bool:
        """Sends a message, after those that wait; returns whether its pieces are needed no longer.

        Args:
            stream: what carries it.
            pieces: the message.
            size: the bytes of all pieces.
        """
        length = size + PREFIX_SIZE
        room = min(stream.window, self.window, self.max_frame, TURN - self._size)
        self._counts.messages_out += 1
        if size <= COPIED and length <= room and not stream.left and not self.paused:
            head = BEGINNING.pack(length << 8 | frames.DATA, 0, stream.number, 0, size)
            self.write(b"".join((head, *pieces)))
            stream.window -= length
            self.window -= length
            self._guard.sent(1)
            return True
        stream.waiting.append(memoryview(PREFIX.pack(0, size)))
        stream.waiting.extend(memoryview(piece).cast("B") for piece in pieces if len(piece))
        stream.left += length
        self.resume(stream)
        stream.busy = bool(stream.left) or stream in self._unwritten
        return not stream.busy

    def takes(self, size: int) -> bool:
        """Whether a message of so many bytes could be sent in this turn; small ones pass others."""
        fits = size <= self.window and self._size < TURN
        return fits and not self.paused and (size <= COPIED or not self._ready)

    def body(self, stream: Stream, text: bytes) -> None:
        """Sends bytes that aren't a message."""
        stream.waiting.append(memoryview(text))
        stream.left = len(text)
        self.resume(stream)

    def resume(self, stream: Stream) -> None:
        """Continues with a stream whose window or message is new."""
        if stream.left and not stream.queued:
            stream.queued = True
            self._ready.append(stream)
            self.pump()

    def forget(self, stream: Stream) -> None:
        """Drops what waits on a stream that has ended."""
        stream.waiting.clear()
        stream.left = 0

    def pump(self) -> None:
        """Sends what may be sent, in turns."""
        if self._pumping:
            return
        emitted = False
        # What isn't flushed yet counts: else the answers to one read could be many turns.
        while self._ready and self._size < TURN and self.window > 0 and not self.paused:
            stream = self._ready.popleft()
            room = min(SLICE if self._ready else TURN, stream.window, self.window, stream.left)
            if room > 0:
                emitted = True
                self._emit(stream, room)
            if stream.left and stream.window > 0:
                self._ready.append(stream)
                continue
            stream.queued = False
            if room > 0 and not stream.left:
                self._unwritten.append(stream)
                stream.framed()
        if emitted and not self.corked:
            self.flush()
        if self._ready and self.window > 0 and not self.paused:
            self._pumping = True
            self._loop.call_soon(self._pump_soon)

    def _pump_soon(self) -> None:
        self._pumping = False
        self.pump()

    def _emit(self, stream: Stream, room: int) -> None:
        out, waiting, longest = self._frames, stream.waiting, self.max_frame
        stream.left -= room
        stream.window -= room
        self.window -= room
        self._size += room
        count = 0
        while room:
            length = min(longest, room)
            room -= length
            count += 1
            out.append(frames.HEADER.pack(length << 8 | frames.DATA, 0, stream.number))
            while length:
                piece = waiting[0]
                if len(piece) <= length:
                    out.append(waiting.popleft())
                    length -= len(piece)
                else:
                    out.append(piece[:length])
                    waiting[0] = piece[length:]
                    length = 0
        self._size += count * frames.HEADER_SIZE
        self._guard.sent(count)

    def pause(self) -> None:
        """The socket's buffer is full."""
        self.paused = True

    def unpause(self) -> None:
        """The socket's buffer is empty."""
        self.paused = False
        self.flush()
        self.pump()
