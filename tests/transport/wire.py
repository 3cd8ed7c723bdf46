"""A connection without a socket: what it is given, what it sends, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.clocks import uptime
from holdfast.transport import Counts, Handler, Limits, frames
from holdfast.transport.header_encoding import encode
from holdfast.transport.inbox import PREFIX
from holdfast.transport.protocol import ServerProtocol, Shared
from holdfast.transport.serving import Serving
from tests.transport.serving import PATH

REQUEST = encode(
    [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PATH.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
)
HELLO = frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 2**30})
WIDE = frames.window_update(0, 2**30)


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Wire(asyncio.Transport):
    """What a connection writes to; the test takes it from here."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.sent += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.sent += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (1, 0)

    def get_write_buffer_size(self) -> int:
        return len(self.sent)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


@dataclass
class Talk:
    """A client's side of a connection of one server."""

    handlers: Mapping[str, Handler]
    limits: Limits = field(default_factory=Limits)
    beside: Talk | None = None
    """A connection of the same server, if it isn't one of its own."""

    def __post_init__(self) -> None:
        self.counts = Counts()
        self.unexpected: list[BaseException] = []
        self.shared: Shared = self._server() if self.beside is None else self.beside.shared
        self.wire = Wire()
        self.protocol = ServerProtocol(self.shared)
        self.protocol.connection_made(self.wire)

    def _server(self) -> Shared:
        tell = lambda _, error: self.unexpected.append(error)  # noqa: E731
        serving = Serving(self.handlers, self.limits, self.counts, clock=uptime, unexpected=tell)
        return Shared(
            serving,
            self.limits,
            self.counts,
            loop=asyncio.get_running_loop(),
            clock=uptime,
            now=time.time,
            spread=lambda low, high: (low + high) / 2,
            unexpected=tell,
        )

    def give(self, *data: bytes) -> None:
        """Has the server receive bytes, as much at once as it likes."""
        rest = b"".join(data)
        while rest and self.wire.reading and not self.wire.closed:
            room = self.protocol.get_buffer(-1)
            piece, rest = rest[: len(room)], rest[len(room) :]
            room[: len(piece)] = piece
            self.protocol.buffer_updated(len(piece))

    def take(self) -> list[Frame]:
        """Returns the frames that the server has sent since the last time."""
        sent = bytes(self.wire.sent)
        self.wire.sent.clear()
        return list(parsed(sent))

    def end(self) -> None:
        """Ends the connection."""
        self.protocol.connection_lost(None)


def parsed(data: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(data):
        word, flags, stream = frames.HEADER.unpack_from(data, at)
        at += frames.HEADER_SIZE
        yield Frame(word & 0xFF, flags, stream, data[at : at + (word >> 8)])
        at += word >> 8


def call(stream: int, message: bytes = b"", block: bytes = REQUEST) -> bytes:
    """The frames of a whole unary request."""
    data = PREFIX.pack(0, len(message)) + message
    return frames.headers(stream, block, end=False) + frames.frame(
        frames.DATA, frames.END_STREAM, stream, data
    )
