"""A client of HTTP/2 that does as it is told: it sends any bytes, and shows each frame it receives.

Source: RFC 9113, section 4.1 and 6.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum

import hpack
from h2.errors import ErrorCodes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = 9
"""Bytes of a frame before its payload."""
WAIT = 30.0
"""Seconds in which anything that a test waits for must happen."""


class Kind(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    UNKNOWN = 0xFA


ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE = 1
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> ErrorCodes:
        """The error code of a RST_STREAM or GOAWAY."""
        at = 4 if self.kind == Kind.GOAWAY else 0
        return ErrorCodes(int.from_bytes(self.payload[at : at + 4]))


def parsed(data: bytes) -> tuple[list[Frame], bytes]:
    """The frames in bytes, and what is left after the last whole one."""
    found = []
    while len(data) >= HEADER and len(data) >= (end := HEADER + int.from_bytes(data[:3])):
        stream = int.from_bytes(data[5:HEADER])
        found.append(Frame(data[3], data[4], stream, data[HEADER:end]))
        data = data[end:]
    return found, data


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3),
        kind,
        flags,
        stream.to_bytes(4),
        payload,
    )


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(name.to_bytes(2) + value.to_bytes(4) for name, value in pairs)
    return frame(Kind.SETTINGS, payload=payload)


def window_update(increment: int, stream: int = 0) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, increment.to_bytes(4))


def reset(stream: int, code: int = ErrorCodes.CANCEL) -> bytes:
    """A RST_STREAM frame."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4))


def message(body: bytes, *, flag: int = 0, size: int | None = None) -> bytes:
    """A gRPC message with its prefix, which may lie about the size."""
    return bytes([flag]) + (len(body) if size is None else size).to_bytes(4) + body


def request_fields(
    path: str, *more: tuple[str, str], method: str = "POST", kind: str = "application/grpc"
) -> list[tuple[str, str]]:
    """The fields of a request for an RPC."""
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", kind),
        *more,
    ]


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block that changes no table, so that any number may be sent in any order."""
    return b"".join(
        b"\x00%c%b%b%b" % (len(name), name, _integer(len(value)), value)
        for name, value in ((name.encode(), value.encode()) for name, value in fields)
    )


def _integer(value: int) -> bytes:
    """HPACK's integer of seven bits (RFC 7541, section 5.1)."""
    if value < 0x7F:
        return bytes([value])
    value -= 0x7F
    parts = [0x7F]
    while value >= 0x80:
        parts.append(value % 0x80 | 0x80)
        value //= 0x80
    return bytes([*parts, value])


def headers(stream: int, fields: Iterable[tuple[str, str]], *, end: bool = False) -> bytes:
    """A HEADERS frame that is a whole block."""
    return frame(Kind.HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(fields))


def data(stream: int, body: bytes, *, end: bool = False) -> bytes:
    """A DATA frame."""
    return frame(Kind.DATA, END_STREAM if end else 0, stream, body)


def call(stream: int, path: str, body: bytes = b"") -> bytes:
    """A whole unary RPC with one message."""
    return headers(stream, request_fields(path)) + data(stream, message(body), end=True)


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = hpack.Decoder()

    async def send(self, *parts: bytes) -> bool:
        """Sends bytes; whether the server still receives them."""
        if self.writer.is_closing():
            return False  # uvloop raises if it is written to, asyncio doesn't
        try:
            self.writer.writelines(parts)
            await asyncio.wait_for(self.writer.drain(), WAIT)
        except ConnectionError:
            return False
        return not self.writer.is_closing()

    async def greet(self, *pairs: tuple[int, int]) -> None:
        """Sends the preface and SETTINGS, and acknowledges the server's."""
        await self.send(PREFACE, settings(*pairs), frame(Kind.SETTINGS, ACK))

    async def receive(self) -> Frame | None:
        """The next frame, or None at the connection's end."""
        async with asyncio.timeout(WAIT):
            try:
                head = await self.reader.readexactly(HEADER)
                payload = await self.reader.readexactly(int.from_bytes(head[:3]))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        return Frame(head[3], head[4], int.from_bytes(head[5:]), payload)

    async def frames(self) -> AsyncIterator[Frame]:
        """All frames, until the connection ends."""
        while (received := await self.receive()) is not None:
            yield received

    async def expect(self, kind: Kind, stream: int | None = None) -> Frame:
        """The next frame of a kind, on a stream if it is given; what comes before is ignored."""
        seen = []
        async for received in self.frames():
            if received.kind == kind and stream in {None, received.stream}:
                return received
            seen.append(received)
        raise AssertionError(f"no {kind.name} of {stream}; before the end: {seen[-20:]}")

    async def fields(self, stream: int) -> dict[str, str]:
        """The fields of the next header block, which must be a stream's."""
        received = await self.expect(Kind.HEADERS)
        assert received.stream == stream
        assert received.flags & END_HEADERS
        return self.decoded(received)

    def decoded(self, received: Frame) -> dict[str, str]:
        """The fields of a HEADERS frame."""
        return {str(name): str(value) for name, value in self._decoder.decode(received.payload)}

    async def status(self, stream: int) -> tuple[str | None, dict[str, str]]:
        """The status that an RPC ends with, and all fields it comes with; skips its messages."""
        fields: dict[str, str] = {}
        while "grpc-status" not in fields:
            fields |= await self.fields(stream)
        return fields["grpc-status"], fields

    async def expect_message(self, stream: int) -> bytes:
        """The next DATA of a stream."""
        return (await self.expect(Kind.DATA, stream)).payload

    async def answer(self, stream: int) -> bytes:
        """The DATA of a stream that must end well, once it has ended."""
        answer = bytearray()
        async for received in self.frames():
            if received.stream != stream:
                continue
            assert received.kind in {Kind.HEADERS, Kind.DATA, Kind.WINDOW_UPDATE}, received
            if received.kind == Kind.DATA:
                answer += received.payload
            if received.kind in {Kind.HEADERS, Kind.DATA} and received.flags & END_STREAM:
                return bytes(answer)
        raise AssertionError("the connection ended first")

    def stop_reading(self) -> None:
        """Leaves all that the server sends from now on to the kernel, whose buffers are small."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def ended(self) -> Frame | None:
        """Waits until the server closes the connection; its last GOAWAY."""
        last = None
        async for received in self.frames():
            if received.kind == Kind.GOAWAY:
                last = received
        return last


@asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    """A connection to loopback on which nothing has been sent yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
