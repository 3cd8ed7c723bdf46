"""Clients that are too slow, or gone, are disconnected in time; slow ones are served."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import islice

import pytest

from holdfast.transport.counts import Refusal
from holdfast.transport.limits import Limits
from tests.service.fleet import eventually

from .floods import ECHO, SLEEP
from .local import is_served, serving
from .raw_client import (
    ACK,
    PREFACE,
    Kind,
    RawClient,
    block,
    call,
    connected,
    frame,
    headers,
    message,
    request_fields,
    settings,
)

SHORT = 0.3
"""Seconds of a bound that a test waits for."""
PACE = 0.02
"""Seconds between two bytes of a slow client."""


async def trickle(client: RawClient, sent: bytes) -> None:
    """Sends a byte at a time, until the server ends the connection, which it must."""
    remaining = iter(sent)
    while True:
        await client.send(bytes(islice(remaining, 1)))
        with suppress(TimeoutError):
            async with asyncio.timeout(PACE):
                await client.ended()
                return


async def test_a_preface_in_pieces() -> None:
    """A client whose every byte comes alone is served."""
    async with serving() as local, connected(local.port) as client:
        for byte in PREFACE + settings() + frame(Kind.SETTINGS, ACK) + call(1, ECHO, b"slowly"):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await client.answer(1) == message(b"slowly")


@pytest.mark.parametrize(
    "beginning",
    [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:5]],
    ids=["silence", "half a preface", "no SETTINGS", "half of SETTINGS"],
)
async def test_a_client_that_does_not_begin(beginning: bytes) -> None:
    """A connection on which HTTP/2 doesn't begin in time is closed."""
    async with serving(Limits(handshake=SHORT)) as local, connected(local.port) as client:
        await client.send(beginning)
        await client.ended()
        await eventually(lambda: local.server.counts.connections == 0)
        await is_served(local)


async def test_a_preface_that_never_ends() -> None:
    """A byte now and then doesn't prolong the time in which HTTP/2 must have begun."""
    async with serving(Limits(handshake=SHORT)) as local, connected(local.port) as client:
        await trickle(client, (PREFACE + settings())[:-1])


@pytest.mark.parametrize(
    "begun",
    [
        frame(Kind.PING, payload=bytes(8)),
        frame(Kind.HEADERS, 0, 1, block(request_fields(ECHO))),
        frame(Kind.HEADERS, 0, 1, block(request_fields(ECHO)))
        + frame(Kind.CONTINUATION, 0, 1, b"\0\1x\1y") * 100,
    ],
    ids=["frame", "block", "continued block"],
)
async def test_a_frame_that_never_ends(begun: bytes) -> None:
    """A frame or a header block that isn't complete in time ends the connection, bytes or not."""
    async with serving(Limits(header_block=SHORT)) as local, connected(local.port) as client:
        await client.greet()
        await trickle(client, begun[:-1])
        await is_served(local)


async def test_a_header_block_that_is_continued() -> None:
    """A frame of a header block now and then doesn't prolong the time that the block has."""
    more = frame(Kind.CONTINUATION, 0, 1, b"\0\1x\1y")
    async with serving(Limits(header_block=SHORT)) as local, connected(local.port) as client:
        await client.greet()
        await client.send(frame(Kind.HEADERS, 0, 1, block(request_fields(ECHO))))
        for _ in range(round(10 * SHORT / PACE)):
            await client.send(more)
            with suppress(TimeoutError):
                async with asyncio.timeout(PACE):
                    await client.ended()
                    return
        raise AssertionError


@pytest.mark.parametrize("ahead", [0, 5], ids=["whole", "in between"])
async def test_a_slow_message_is_no_attack(ahead: int) -> None:
    """A message may take longer than a frame's bound, if no frame does, wherever reads end."""
    said = b"bytes that come one by one"
    pieces = [frame(Kind.DATA, 0, 1, bytes([byte])) for byte in message(said)]
    size = len(pieces[0])
    data = b"".join(pieces)
    async with serving(Limits(header_block=SHORT)) as local, connected(local.port) as client:
        await client.greet()
        await client.send(headers(1, request_fields(ECHO)) + data[:ahead])
        for start in range(ahead, len(data), size):
            await client.send(data[start : start + size])
            await asyncio.sleep(PACE)
        await client.send(frame(Kind.DATA, 1, 1))
        assert await client.answer(1) == message(said)


async def test_a_client_that_is_gone() -> None:
    """A client that answers no PING is disconnected and its calls end; one that answers stays."""
    limits = Limits(keepalive=SHORT, keepalive_timeout=5 * SHORT)
    async with (
        serving(limits) as local,
        connected(local.port) as client,
        local.channel() as channel,
    ):
        alive = channel.unary_stream(SLEEP, bytes, bytes)(b"alive")
        assert await alive.read() == b"asleep"
        await client.greet()
        await client.send(call(1, SLEEP, b"gone"))
        await client.expect(Kind.PING)
        await client.ended()
        assert local.server.counts.refused == {Refusal.SILENT: 1}
        await eventually(lambda: local.service.ended == [b"gone"])
        assert local.service.waiting == 1
        alive.cancel()


async def test_settings_that_are_never_acknowledged() -> None:
    """A client that doesn't acknowledge SETTINGS is disconnected in time."""
    async with serving(Limits(settings_timeout=SHORT)) as local, connected(local.port) as client:
        await client.send(PREFACE, settings())
        await client.ended()
        assert local.server.counts.refused == {Refusal.LATE: 1}
        await is_served(local)


async def test_a_forgotten_connection() -> None:
    """A connection without streams is closed after its time, with nothing held against it."""
    async with serving(Limits(idle=SHORT)) as local, connected(local.port) as client:
        await client.greet()
        goaway = await client.ended()
        assert goaway is not None
        assert goaway.code == 0
        await eventually(lambda: local.server.counts.connections == 0)
        assert local.server.counts.drains == local.server.counts.goaways == 1
        assert not local.server.counts.refused
