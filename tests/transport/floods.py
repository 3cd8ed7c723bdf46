"""Attacks that consist of many frames, each of which is legal or cheap.

Sources: CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION), CVE-2019-9512 to 9518.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from h2.errors import ErrorCodes

from holdfast.transport.counts import Refusal

from .bytes_service import SERVICE
from .raw_client import (
    ACK,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    Kind,
    block,
    call,
    frame,
    headers,
    request_fields,
    reset,
    settings,
    window_update,
)

ECHO = f"/{SERVICE}/Echo"
CHAT = f"/{SERVICE}/Chat"
DEAF = f"/{SERVICE}/Deaf"
READ = f"/{SERVICE}/Read"
SLEEP = f"/{SERVICE}/Sleep"
NUMBERS = range(1, 2**31, 2)
"""Streams of a client."""
CALM = ErrorCodes.ENHANCE_YOUR_CALM


@dataclass(frozen=True, slots=True)
class Flood:
    """An attack, and the error that ends it."""

    name: str
    parts: Callable[[], Iterator[bytes]]
    """What is sent, without end."""
    refusal: Refusal = Refusal.USELESS_FRAMES
    """What the server counts it as."""
    code: ErrorCodes = CALM

    def __str__(self) -> str:
        """For the test's name."""
        return self.name


def _rapid_reset() -> Iterator[bytes]:
    for stream in NUMBERS:
        yield headers(stream, request_fields(CHAT)) + reset(stream)


def _reset_by_server() -> Iterator[bytes]:
    """MadeYouReset, CVE-2025-8671: the client provokes the server into resetting each stream."""
    for stream in NUMBERS:
        yield headers(stream, request_fields(CHAT)) + window_update(0, stream)


def _calls_that_are_left() -> Iterator[bytes]:
    """Whole requests, so that each one has begun when it is reset."""
    for stream in NUMBERS:
        yield call(stream, SLEEP) + reset(stream)


def _continuations(payload: bytes) -> Iterator[bytes]:
    yield frame(Kind.HEADERS, 0, 1, block(request_fields(ECHO)))
    while True:
        yield frame(Kind.CONTINUATION, 0, 1, payload)


def _empty_data() -> Iterator[bytes]:
    yield headers(1, request_fields(CHAT))
    while True:
        yield frame(Kind.DATA, 0, 1)


def _padding_only() -> Iterator[bytes]:
    yield headers(1, request_fields(CHAT))
    while True:
        yield frame(Kind.DATA, 8, 1, bytes([3, 0, 0, 0]))


def _resets_of_one() -> Iterator[bytes]:
    yield headers(1, request_fields(CHAT))
    while True:
        yield reset(1)


def _updates(stream: int) -> Iterator[bytes]:
    yield headers(1, request_fields(CHAT))
    while True:
        yield window_update(1, stream)


def _malformed() -> Iterator[bytes]:
    for stream in NUMBERS:
        yield headers(stream, request_fields(""), end=True)


def _same(part: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: (part for _ in count())


FLOODS = [
    Flood("rapid reset", _rapid_reset, Refusal.RESETS),
    Flood("resets by the server", _reset_by_server, Refusal.RESETS),
    Flood("calls that are left", _calls_that_are_left, Refusal.RESETS),
    Flood("empty CONTINUATION", lambda: _continuations(b"")),
    Flood(
        "CONTINUATION",
        lambda: _continuations(block([("x-more", "v" * 100)])),
        Refusal.HEADER_BLOCKS,
    ),
    Flood("SETTINGS", _same(settings()), Refusal.SETTINGS),
    Flood(
        "SETTINGS that move windows",
        _same(settings((INITIAL_WINDOW_SIZE, 1))),
        Refusal.SETTINGS,
    ),
    Flood(
        "SETTINGS that move the table",
        _same(settings((HEADER_TABLE_SIZE, 0), (HEADER_TABLE_SIZE, 4096))),
        Refusal.SETTINGS,
    ),
    Flood("PING", _same(frame(Kind.PING, payload=bytes(8))), Refusal.PINGS),
    Flood("PING acknowledgements", _same(frame(Kind.PING, ACK, payload=bytes(8)))),
    Flood("SETTINGS acknowledgements", _same(frame(Kind.SETTINGS, ACK))),
    Flood("PRIORITY", _same(frame(Kind.PRIORITY, 0, 1, b"\0\0\0\3\0"))),
    Flood("unknown frames", _same(frame(Kind.UNKNOWN, payload=b"what?"))),
    Flood("GOAWAY", _same(frame(Kind.GOAWAY, payload=bytes(8)))),
    Flood("empty DATA", _empty_data),
    Flood("DATA of padding", _padding_only),
    Flood("RST_STREAM of one stream", _resets_of_one),
    Flood("WINDOW_UPDATE of the connection", lambda: _updates(0)),
    Flood("WINDOW_UPDATE of a stream", lambda: _updates(1)),
    Flood("malformed requests", _malformed, Refusal.RESETS),
]
