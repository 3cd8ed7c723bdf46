"""How long a connection may last without what it needs, by bare sockets."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.transport import Call, Limits, Refusal, Unary
from holdfast.transport.frames import PREFACE, SETTINGS, frame
from holdfast.transport.lifetime import Lifetime
from tests.transport.serving import PATH, Running, serving, until
from tests.transport.wire import Talk

SHORT = Limits(handshake=0.2, header_block=0.2, keepalive=0.2, keepalive_timeout=0.2)
HELLO = PREFACE + frame(SETTINGS, 0, 0)


async def echo(message: bytes, _: Call) -> bytes:
    """Answers with the request."""
    return message


@pytest.mark.parametrize(
    "data",
    [b"", PREFACE[:10], PREFACE, HELLO[:-1], HELLO + b"\0", HELLO + frame(1, 0, 1, b"\x83")],
    ids=["silence", "half a preface", "no SETTINGS", "half of SETTINGS", "half a header", "no end"],
)
async def test_what_is_not_finished_ends(data: bytes) -> None:
    """A client that doesn't finish what it has begun is disconnected, also if it sends a little."""
    async with serving({PATH: Unary(echo)}, SHORT) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(data)
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
        await until(lambda: not running.server.counts.connections)


async def test_a_client_that_is_gone_is_noticed() -> None:
    """A client that doesn't answer PING any more is disconnected."""
    async with serving(
        {PATH: Unary(echo)}, Limits(keepalive=0.1, keepalive_timeout=0.1)
    ) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(HELLO)
        async with asyncio.timeout(10):
            received = await reader.read()
        writer.close()
        assert frame(6, 0, 0, b"keepaliv") in received


async def connected(running: Running) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    return writer


async def test_connections_are_bounded() -> None:
    """A connection beyond the limit is closed, and there is room again when another one ends."""
    async with serving({PATH: Unary(echo)}, Limits(max_connections=1)) as running:
        first = await connected(running)
        await until(lambda: running.server.counts.connections == 1)
        second = await connected(running)
        await until(lambda: running.server.counts.refused[Refusal.CONNECTIONS] == 1)
        first.close()
        await until(lambda: running.server.counts.connections == 0)
        third = await connected(running)
        await until(lambda: running.server.counts.connections == 1)
        second.close()
        third.close()


async def test_streams_are_bounded() -> None:
    """A stream beyond the limit is refused so that the client retries it, and others go on."""
    begun = asyncio.Event()
    release = asyncio.Event()

    async def wait(message: bytes, _: Call) -> bytes:
        begun.set()
        await release.wait()
        return message

    block = b"\x83\x86" + b"\x04\x14" + PATH.encode() + b"\x0f\x10\x10application/grpc"
    request = struct.pack(">BI", 0, 0)
    async with serving({PATH: Unary(wait)}, Limits(max_streams=1)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(HELLO + frame(1, 4, 1, block) + frame(0, 1, 1, request))
        await begun.wait()
        writer.write(frame(1, 4, 3, block) + frame(0, 1, 3, request))
        refused = frame(3, 0, 3, struct.pack(">I", 7))
        await reader.readuntil(refused)
        release.set()
        await reader.readuntil(frame(0, 0, 1, request))
        writer.close()


async def test_only_a_drain_is_in_haste() -> None:
    """An idle connection is looked at every few seconds, and more often once it is drained."""
    delays: list[float] = []
    timer: Any = SimpleNamespace(cancel=lambda: None)

    def call_later(delay: float, _: object) -> Any:
        delays.append(delay)
        return timer

    loop: Any = SimpleNamespace(call_later=call_later)
    protocol = Talk({}).protocol
    limits = Limits(handshake=8.0, round_trip=2.0)
    lifetime = Lifetime(protocol, limits, loop, lambda: protocol.since, lambda low, _: low)
    assert delays == [2.0]
    lifetime.drain()
    assert delays == [2.0, 0.5]
    assert protocol.connection.draining
