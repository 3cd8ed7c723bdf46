"""What a connection receives: bytes become frames, whose form is checked here.

Frames are read in place. DATA is handed on in the pieces in which it arrives; other frames are read
once they have arrived as a whole. What a frame means is for its `FrameReceiver`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from holdfast.transport import frames
from holdfast.transport.counts import Refusal
from holdfast.transport.errors import ConnectionFailedError, ErrorCode, StreamFailedError

RESERVED: Final = 2**31
"""The bit of a stream's number, or of an increment, that means nothing."""
PRIORITY_SIZE: Final = 5
PING_SIZE: Final = 8
GOAWAY_SIZE: Final = 8


class FrameReceiver(Protocol):
    """What is done about frames; each method may raise the errors of `transport/errors.py`."""

    def data_begins(self, stream: int, size: int) -> None:
        """DATA begins; `size` is all that counts for the windows, padding included."""

    def data(self, stream: int, piece: memoryview, *, last: bool) -> None:
        """A piece of DATA; `last` if it ends the stream."""

    def headers(self, stream: int, block: bytes, *, end: bool) -> None:
        """A whole header block; `end` if it ends the stream."""

    def reset(self, stream: int) -> None:
        """RST_STREAM."""

    def settings(self, values: list[tuple[int, int]]) -> None:
        """SETTINGS, in their order."""

    def settings_acknowledged(self) -> None:
        """The acknowledgement of ours."""

    def ping(self, payload: bytes) -> None:
        """A PING to answer."""

    def pong(self, payload: bytes) -> None:
        """The answer to ours."""

    def window(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE; 0 is for the receiver to judge."""

    def useless(self) -> None:
        """A frame that means nothing here."""

    def stream_failed(self, error: StreamFailedError) -> None:
        """What a method raised about one stream, or what is wrong with a frame of it."""


def failure(reason: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> ConnectionFailedError:
    """The error of a frame that breaks the protocol's rules."""
    return ConnectionFailedError(code, reason)


def _sized(kind: str, *, right: bool) -> None:
    if not right:
        raise failure(f"{kind} has a wrong length", ErrorCode.FRAME_SIZE_ERROR)


def _of_stream(kind: str, stream: int, *, wanted: bool) -> None:
    if bool(stream) != wanted:
        raise failure(f"{kind} {'without' if wanted else 'with'} a stream")


def _unpadded(kind: str, flags: int, payload: memoryview) -> memoryview:
    if not flags & frames.PADDED:
        return payload
    _sized(kind, right=len(payload) > 0)
    padding = payload[0]
    if padding >= len(payload):
        raise failure(f"{kind} has more padding than payload")
    return payload[1 : len(payload) - padding]


class FrameReader:
    """Reads the frames of one client."""

    __slots__ = (
        "_block",
        "_block_ends",
        "_block_limit",
        "_block_stream",
        "_block_wrong",
        "_data_ends",
        "_data_left",
        "_data_stream",
        "_kinds",
        "_receiver",
        "begun",
        "yielded",
    )

    def __init__(self, receiver: FrameReceiver, block_limit: int) -> None:
        """Begins before the first frame.

        Args:
            receiver: told of each frame.
            block_limit: most bytes of a header block.
        """
        self._receiver = receiver
        self._block_limit = block_limit
        self._block = b""
        self._block_stream = 0
        self._block_ends = False
        self._block_wrong = False
        self._data_stream = 0
        self._data_left = 0
        self._data_ends = False
        self.begun = False
        """Whether the first frame, SETTINGS, has begun."""
        self._kinds: tuple[Callable[[int, int, memoryview], None], ...] = (
            self._padded_data,
            self._headers,
            self._priority,
            self._rst_stream,
            self._settings,
            self._push_promise,
            self._ping,
            self._goaway,
            self._window_update,
            self._continuation,
        )
        self.yielded = False
        """Whether the last call stopped because it was others' turn."""

    @property
    def within(self) -> bool:
        """Whether a header block is incomplete."""
        return bool(self._block_stream)

    def read(self, view: memoryview, end: int, most: int) -> int:
        """Reads so many frames at most from the first `end` bytes; returns how many bytes it used.

        The rest must be passed again, in front of what follows.

        Raises:
            ConnectionFailedError: the client must be disconnected.
        """
        at = 0
        self.yielded = False
        while at < end:
            if not most:
                self.yielded = True
                break
            try:
                if self._data_left:
                    stop = min(at + self._data_left, end)
                    piece, at = view[at:stop], stop
                    self._data(piece)
                    continue
                start = at + frames.HEADER_SIZE
                if start > end:
                    break
                word, flags, stream = frames.HEADER.unpack_from(view, at)
                kind, length = word & 0xFF, word >> 8
                self._check(kind, length, stream)
                if kind == frames.DATA and not flags & frames.PADDED:
                    at = start
                    self._begin_data(flags, stream & ~RESERVED, length, length)
                elif start + length <= end:
                    at = start + length
                    self._frame(kind, flags, stream & ~RESERVED, view[start:at])
                else:
                    break
            except StreamFailedError as error:
                self._receiver.stream_failed(error)
            most -= 1
        return at

    def _check(self, kind: int, length: int, stream: int) -> None:
        if length > frames.SHORTEST_MAX_FRAME:
            raise failure("a frame is too long", ErrorCode.FRAME_SIZE_ERROR)
        if self._block_stream:
            if kind != frames.CONTINUATION or stream & ~RESERVED != self._block_stream:
                raise failure("a header block is interrupted by another frame")
        elif not self.begun:
            if kind != frames.SETTINGS:
                raise failure("the first frame isn't SETTINGS")
            self.begun = True

    def _begin_data(self, flags: int, stream: int, length: int, size: int) -> None:
        _of_stream("DATA", stream, wanted=True)
        self._data_stream, self._data_left = stream, length
        self._data_ends = bool(flags & frames.END_STREAM)
        self._receiver.data_begins(stream, size)
        if not length:
            self._data(memoryview(b""))

    def _data(self, piece: memoryview) -> None:
        self._data_left -= len(piece)
        last = self._data_ends and not self._data_left
        self._receiver.data(self._data_stream, piece, last=last)

    def _frame(self, kind: int, flags: int, stream: int, payload: memoryview) -> None:
        if kind < len(self._kinds):
            self._kinds[kind](flags, stream, payload)
        else:
            self._receiver.useless()

    def _padded_data(self, flags: int, stream: int, payload: memoryview) -> None:
        piece = _unpadded("DATA", flags, payload)
        self._begin_data(flags, stream, len(piece), len(payload))
        if len(piece):
            self._data(piece)

    def _headers(self, flags: int, stream: int, payload: memoryview) -> None:
        _of_stream("HEADERS", stream, wanted=True)
        block = _unpadded("HEADERS", flags, payload)
        self._block_wrong = False
        if flags & frames.WITH_PRIORITY:
            _sized("HEADERS", right=len(block) >= PRIORITY_SIZE)
            self._block_wrong = _depends_on_itself(stream, block)
            block = block[PRIORITY_SIZE:]
        self._block_ends = bool(flags & frames.END_STREAM)
        self._block_stream, self._block = stream, bytes(block)
        self._continue(flags)

    def _continuation(self, flags: int, stream: int, payload: memoryview) -> None:
        if not self._block_stream or stream != self._block_stream:
            raise failure("CONTINUATION without a header block")
        if not payload:
            self._receiver.useless()
        self._block += payload
        self._continue(flags)

    def _continue(self, flags: int) -> None:
        if len(self._block) > self._block_limit:
            reason = "a header block is too long"
            raise ConnectionFailedError(ErrorCode.ENHANCE_YOUR_CALM, reason, Refusal.HEADER_BLOCKS)
        if flags & frames.END_HEADERS:
            stream, block = self._block_stream, self._block
            self._block_stream, self._block = 0, b""
            self._receiver.headers(stream, block, end=self._block_ends)
            # Not before: a stream that its last CONTINUATION opens could not be reset by then.
            if self._block_wrong:
                raise StreamFailedError(stream, ErrorCode.PROTOCOL_ERROR, "it depends on itself")

    def _priority(self, _: int, stream: int, payload: memoryview) -> None:
        _of_stream("PRIORITY", stream, wanted=True)
        self._receiver.useless()
        if len(payload) != PRIORITY_SIZE:
            raise StreamFailedError(stream, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY's length")
        if _depends_on_itself(stream, payload):
            raise StreamFailedError(stream, ErrorCode.PROTOCOL_ERROR, "it depends on itself")

    def _rst_stream(self, _: int, stream: int, payload: memoryview) -> None:
        _of_stream("RST_STREAM", stream, wanted=True)
        _sized("RST_STREAM", right=len(payload) == frames.NUMBER.size)
        self._receiver.reset(stream)

    def _settings(self, flags: int, stream: int, payload: memoryview) -> None:
        _of_stream("SETTINGS", stream, wanted=False)
        if flags & frames.ACK:
            _sized("an acknowledgement of SETTINGS", right=not payload)
            self._receiver.settings_acknowledged()
            return
        _sized("SETTINGS", right=len(payload) % frames.SETTING.size == 0)
        self._receiver.settings(list(frames.SETTING.iter_unpack(payload)))

    def _push_promise(self, *_: object) -> None:
        raise failure("clients must not send PUSH_PROMISE")

    def _ping(self, flags: int, stream: int, payload: memoryview) -> None:
        _of_stream("PING", stream, wanted=False)
        _sized("PING", right=len(payload) == PING_SIZE)
        if flags & frames.ACK:
            self._receiver.pong(bytes(payload))
        else:
            self._receiver.ping(bytes(payload))

    def _goaway(self, _: int, stream: int, payload: memoryview) -> None:
        # The client will begin no more streams; that it is told so needs no answer.
        _of_stream("GOAWAY", stream, wanted=False)
        _sized("GOAWAY", right=len(payload) >= GOAWAY_SIZE)
        self._receiver.useless()

    def _window_update(self, _: int, stream: int, payload: memoryview) -> None:
        _sized("WINDOW_UPDATE", right=len(payload) == frames.NUMBER.size)
        (increment,) = frames.NUMBER.unpack(payload)
        self._receiver.window(stream, increment & ~RESERVED)


def _depends_on_itself(stream: int, payload: memoryview) -> bool:
    (parent,) = frames.NUMBER.unpack_from(payload)
    return bool(parent & ~RESERVED == stream)
