"""Windows that are wrong, closed or unlimited cost a connection or a stream, and no memory."""

from __future__ import annotations

import hashlib

import pytest
from h2.errors import ErrorCodes

from holdfast.transport.limits import Limits
from tests.service.fleet import eventually

from .bytes_service import content
from .floods import CHAT, DEAF, READ
from .local import Local, is_served, serving
from .memory import at_most
from .raw_client import (
    INITIAL_WINDOW_SIZE,
    Kind,
    RawClient,
    call,
    connected,
    data,
    headers,
    message,
    request_fields,
    reset,
    settings,
    window_update,
)

KIB = 2**10
MIB = 2**20
LARGEST = 2**31 - 1
STREAMS = range(1, 100, 2)
READING = b"%d %d" % (8 * MIB, 64 * KIB)
"""A Read of 8 MiB in messages of 64 KiB."""
MEMORY = 12 * MIB
"""Bytes for 50 Reads: a message each, where it was made and where it waits, and what else runs."""


async def nothing_moves(local: Local) -> None:
    """Waits until everybody but the one who asks is stuck, and others are still served."""
    sent = [-1, 0]
    while sent[-1] - sent[-2] > KIB:
        await is_served(local)
        sent.append(local.server.counts.bytes_out)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([window_update(LARGEST)], ErrorCodes.FLOW_CONTROL_ERROR),
        ([window_update(0)], ErrorCodes.PROTOCOL_ERROR),
        ([settings((INITIAL_WINDOW_SIZE, LARGEST + 1))], ErrorCodes.FLOW_CONTROL_ERROR),
        (
            [
                headers(1, request_fields(CHAT)),
                window_update(LARGEST - 65_535, 1),
                settings((INITIAL_WINDOW_SIZE, 65_536)),
            ],
            ErrorCodes.FLOW_CONTROL_ERROR,
        ),
    ],
    ids=["overflow", "update by nothing", "initial window too large", "overflow by SETTINGS"],
)
async def test_a_wrong_window_of_the_connection(parts: list[bytes], code: ErrorCodes) -> None:
    """A connection whose windows overflow or grow by nothing is ended; others are served."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        await client.send(*parts)
        goaway = await client.ended()
        assert goaway is not None
        assert goaway.code == code
        await is_served(local)


@pytest.mark.parametrize(
    ("increment", "code"),
    [(LARGEST, ErrorCodes.FLOW_CONTROL_ERROR), (0, ErrorCodes.PROTOCOL_ERROR)],
)
async def test_a_wrong_window_of_a_stream(increment: int, code: ErrorCodes) -> None:
    """A stream's window that overflows or grows by nothing ends the stream, and no other."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        await client.send(
            headers(1, request_fields(CHAT)),
            headers(3, request_fields(CHAT)),
            window_update(increment, 1),
            data(3, message(b"still here"), end=True),
        )
        assert (await client.expect(Kind.RST_STREAM, 1)).code == code
        assert await client.answer(3) == message(b"still here")


async def test_more_than_a_stream_may_send() -> None:
    """A client that sends beyond a stream's window loses the stream, and no other."""
    limits = Limits()
    async with serving(limits) as local, connected(local.port) as client:
        await client.greet()
        await client.send(headers(1, request_fields(DEAF)))
        await client.send(data(1, bytes(limits.first_window)), data(1, b"x"))
        assert (await client.expect(Kind.RST_STREAM, 1)).code == ErrorCodes.FLOW_CONTROL_ERROR
        await eventually(lambda: local.service.waiting == 0)
        await client.send(headers(3, request_fields(CHAT)), data(3, message(b"here"), end=True))
        assert await client.answer(3) == message(b"here")


async def test_streams_that_are_never_received_hold_their_window_only() -> None:
    """Streams that the server doesn't receive from cost their windows, and stop no other one."""
    limits = Limits()
    async with serving(limits) as local, connected(local.port) as client:
        await client.greet()
        with at_most(MEMORY):
            for stream in STREAMS:
                await client.send(headers(stream, request_fields(DEAF)))
                await client.send(data(stream, bytes(limits.first_window)))
            await eventually(lambda: local.server.counts.streams == len(STREAMS))
        await client.send(call(1001, CHAT, b"and this one?"))
        assert await client.answer(1001) == message(b"and this one?")
        assert local.server.counts.streams == len(STREAMS)


async def test_few_windows_are_wide() -> None:
    """Windows are wider than the first one while enough is left for that, and again later."""
    more = Limits().stream_window - Limits().first_window
    limits = Limits(windows=2 * more)

    async def room(client: RawClient, stream: int) -> int:
        """What the client may send on a stream once it was answered there."""
        await client.send(headers(stream, request_fields(CHAT)), data(stream, message(b"hello")))
        opened = 0
        async for received in client.frames():
            if received.kind == Kind.WINDOW_UPDATE and received.stream == stream:
                opened += int.from_bytes(received.payload)
            elif received.kind == Kind.DATA and received.stream == stream:
                break
        return limits.first_window - len(message(b"hello")) + opened

    async with serving(limits) as local, connected(local.port) as client:
        await client.greet()
        assert await room(client, 1) == limits.stream_window
        assert await room(client, 3) == limits.stream_window
        assert await room(client, 5) <= limits.first_window
        await client.send(reset(1))
        assert await room(client, 7) == limits.stream_window
        assert await room(client, 9) <= limits.first_window


async def test_a_window_of_nothing() -> None:
    """Streams whose client opens no window wait with one message each, and go on when it does."""
    async with serving() as local, connected(local.port) as client:
        await client.greet((INITIAL_WINDOW_SIZE, 0))
        with at_most(MEMORY):
            await client.send(*(call(stream, READ, READING) for stream in STREAMS))
            for stream in STREAMS:
                await client.expect(Kind.HEADERS, stream)
            await is_served(local)
        assert local.server.counts.streams == len(STREAMS)
        await client.send(window_update(8 * MIB * 2))
        await client.send(window_update(8 * MIB * 2, STREAMS[-1]))
        body = await client.answer(STREAMS[-1])
        digest = hashlib.sha256()
        size = 64 * KIB
        for at in range(0, len(body), 5 + size):
            digest.update(body[at + 5 : at + 5 + size])
        assert digest.hexdigest() == content(8 * MIB, size)


async def test_a_deadline_needs_no_window() -> None:
    """A call whose client opens no window ends at its deadline all the same."""
    async with serving() as local, connected(local.port) as client:
        await client.greet((INITIAL_WINDOW_SIZE, 0))
        fields = request_fields(READ, ("grpc-timeout", "200m"))
        await client.send(headers(1, fields), data(1, message(READING), end=True))
        status, _ = await client.status(1)
        assert status == "4"
        await eventually(lambda: local.server.counts.streams == 0)


async def test_a_client_that_never_reads() -> None:
    """A client that reads nothing costs a message for each stream, and nothing once it leaves."""
    async with serving() as local:
        async with connected(local.port) as client:
            await client.greet((INITIAL_WINDOW_SIZE, LARGEST))
            await client.send(window_update(LARGEST - 65_535))
            client.stop_reading()
            with at_most(MEMORY):
                await client.send(*(call(stream, READ, READING) for stream in STREAMS))
                await eventually(lambda: local.server.counts.streams == len(STREAMS))
                await nothing_moves(local)
        await eventually(lambda: local.server.counts.streams == 0)
        assert local.server.counts.connections == 0
        assert local.failures == []
