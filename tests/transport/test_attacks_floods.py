"""Floods of cheap frames end with ENHANCE_YOUR_CALM, cost no memory, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice

import pytest

from tests.service.fleet import eventually

from .floods import ECHO, FLOODS, Flood
from .local import Local, serving
from .memory import at_most
from .raw_client import Frame, Kind, RawClient, connected

MIB = 2**20
MOST = 100_000
"""Parts of a flood after which the server should long have ended it."""
BATCH = 500
MEMORY = 4 * MIB
"""Bytes that server and attacker together may need beyond what they have."""


@asynccontextmanager
async def bystander(local: Local) -> AsyncIterator[list[int]]:
    """Another client, which calls all the time and must always be answered; how often it was."""
    answered = [0]
    over = asyncio.Event()

    async def calls() -> None:
        async with local.channel() as channel:
            echo = channel.unary_unary(ECHO, bytes, bytes)
            while not over.is_set():
                assert await echo(b"me too", timeout=30) == b"me too"
                answered[0] += 1

    task = asyncio.create_task(calls())
    try:
        await eventually(lambda: answered[0] > 0 or task.done())
        yield answered
    finally:
        over.set()
        await task


async def attack(client: RawClient, parts: Iterator[bytes]) -> Frame | None:
    """Sends a flood until the server ends the connection; its last word."""
    ended = asyncio.create_task(client.ended())
    for _ in range(MOST // BATCH):
        if not await client.send(b"".join(islice(parts, BATCH))) or ended.done():
            break
        await asyncio.sleep(0)
    return await ended


@pytest.mark.parametrize("flood", FLOODS, ids=str)
async def test_a_flood_is_ended(flood: Flood) -> None:
    """The client that floods is disconnected with the right error; others are served meanwhile."""
    async with serving() as local, bystander(local) as answered, connected(local.port) as client:
        await client.greet()
        await client.expect(Kind.SETTINGS)
        before = answered[0]
        with at_most(MEMORY):
            goaway = await attack(client, flood.parts())
        assert goaway is not None
        assert goaway.code == flood.code
        assert local.server.counts.refused[flood.refusal] == 1
        await eventually(lambda: answered[0] > before)
        await eventually(lambda: local.server.counts.connections == 1)
        await eventually(lambda: local.service.waiting == 0)
        assert local.failures == []


@pytest.mark.parametrize("flood", FLOODS, ids=str)
async def test_a_flood_whose_answers_nobody_reads(flood: Flood) -> None:
    """A client that floods and reads nothing is disconnected too, whatever it was to be told."""
    async with serving() as local, bystander(local), connected(local.port) as client:
        await client.greet()
        client.stop_reading()
        parts = flood.parts()
        for _ in range(MOST // BATCH):
            if not await client.send(b"".join(islice(parts, BATCH))):
                break
        await eventually(lambda: local.server.counts.connections == 1)
        assert local.failures == []
