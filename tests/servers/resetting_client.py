"""A client that opens gRPC calls and resets each at once, faster than gRPC's own client can.

Source: RFC 9113, sections 3.4 and 4.1 (preface, frames), and RFC 7541, 6.2.2 (literal fields);
"gRPC over HTTP2", Requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4
CANCEL: Final = (8).to_bytes(4, "big")
AT_ONCE: Final = 200


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _field(name: str, value: str) -> bytes:
    encoded = (text.encode() for text in (name, value))
    return b"\0" + b"".join(bytes([len(text)]) + text for text in encoded)


def _call(stream: int, path: str, metadata: Mapping[str, str], message: bytes) -> bytes:
    """A call with one message, and its end."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **metadata,
    }
    head = b"".join(_field(name, value) for name, value in fields.items())
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return (
        _frame(HEADERS, END_HEADERS, stream, head)
        + _frame(DATA, END_STREAM, stream, body)
        + _frame(RESET, 0, stream, CANCEL)
    )


@asynccontextmanager
async def resets(
    port: int, calls: int, path: str, metadata: Mapping[str, str], message: bytes
) -> AsyncIterator[None]:
    """Opens and resets so many calls on one connection, which stays open while the block lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = asyncio.create_task(reader.read())  # all of it: the server mustn't be blocked
    writer.write(PREFACE + _frame(SETTINGS, 0, 0, b""))
    for first in range(0, calls, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, calls))
        writer.write(b"".join(_call(1 + 2 * n, path, metadata, message) for n in numbers))
        await writer.drain()
    try:
        yield
    finally:
        writer.close()
        await asyncio.wait([heard])
