"""Look-ups of one tenant that come together share requests, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from holdfast.coordination.client import Client
from holdfast.coordination.hold_cache import TOGETHER, HoldCache
from holdfast.coordination.scripts import Argument, Scripts
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from tests.coordination.fleet import DIGEST, Frontend


class Gate(Scripts):
    """Scripts that wait until they may go, and say how many digests each looked up."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.opened = asyncio.Event()
        self.failure: Exception | None = None
        self.sizes: list[int] = []

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Waits, then runs the script, or fails."""
        self.sizes.append(len(keys) // 2)
        await self.opened.wait()
        if self.failure:
            raise self.failure
        return await super().run(name, keys, args)


class Asked:
    """A cache behind a gate, and look-ups of which the first is under way."""

    def __init__(self, one: Frontend) -> None:
        self.gate = Gate(one.client)
        self.cache = HoldCache(self.gate, lambda: "token")
        self.tenant = one.tenant
        self.look_ups: list[asyncio.Task[Any]] = []

    async def ask(self, digests: Sequence[Digest]) -> None:
        """Asks for each, and waits until all of them wait."""
        for digest in digests:
            self.look_ups.append(asyncio.create_task(self.cache.look_up(self.tenant, digest)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def entries(self) -> list[str | None]:
        """Opens the gate; what each look-up found."""
        self.gate.opened.set()
        return [found.entry for found in await asyncio.gather(*self.look_ups)]


@pytest.fixture
async def asked(one: Frontend) -> Asked:
    """A cache behind a gate."""
    return Asked(one)


async def fill(one: Frontend, digest: Digest, entry: str) -> None:
    """Fills in an entry, past the gate."""
    found = await one.cache.look_up(one.tenant, digest)
    assert await one.cache.fill(one.tenant, digest, found.ticket, entry)


async def test_each_gets_its_own(one: Frontend, asked: Asked) -> None:
    """What comes during a request goes with the next one, and each finds its own entry."""
    digests = [Digest.of(str(number).encode()) for number in range(2 * TOGETHER)]
    for number, digest in enumerate(digests[::2]):
        await fill(one, digest, str(number))
    await asked.ask(digests[:1])
    await asked.ask(digests[1:])
    found = await asked.entries()
    assert found == [None if n % 2 else str(n // 2) for n in range(2 * TOGETHER)]
    assert asked.gate.sizes == [1, TOGETHER, TOGETHER - 1]


async def test_a_change_meanwhile(one: Frontend, asked: Asked) -> None:
    """A look-up that waits for its turn sees what was changed since it was asked for."""
    await fill(one, DIGEST, "old")
    await asked.ask([Digest.of(b"other")])
    await asked.ask([DIGEST])
    async with one.cache.changing(one.tenant, DIGEST, delete=True):
        pass
    assert await asked.entries() == [None, None]


@pytest.mark.parametrize("failure", [Unavailable("Redis is gone"), ValueError("a bug")])
async def test_a_failure(asked: Asked, failure: Exception) -> None:
    """Those who wait are told of it with those who were asked for; the next ones ask anew."""
    await asked.ask([DIGEST])
    await asked.ask([DIGEST, DIGEST])
    asked.gate.failure = failure
    asked.gate.opened.set()
    told = await asyncio.gather(*asked.look_ups, return_exceptions=True)
    assert told == [failure] * 3
    assert asked.gate.sizes == [1]
    asked.gate.failure, asked.look_ups = None, []
    await asked.ask([DIGEST])
    assert await asked.entries() == [None]


async def test_one_goes_away(one: Frontend, asked: Asked) -> None:
    """A look-up that is cancelled, under way or waiting, harms no other one."""
    await fill(one, DIGEST, "entry")
    await asked.ask([DIGEST])
    await asked.ask([DIGEST, DIGEST])
    for gone in asked.look_ups[:2]:
        gone.cancel()
    *_, last = asked.look_ups
    asked.gate.opened.set()
    assert (await last).entry == "entry"


async def test_other_tenants(one: Frontend, asked: Asked) -> None:
    """Nobody waits for another tenant's request: its keys may be on another server."""
    await asked.ask([DIGEST])
    asked.tenant = f"{one.tenant}-other"
    await asked.ask([DIGEST])
    assert asked.gate.sizes == [1, 1]
    assert await asked.entries() == [None, None]


async def test_the_end(asked: Asked) -> None:
    """When the frontend stops, whoever waits is told so."""
    await asked.ask([DIGEST])
    await asked.ask([DIGEST])
    await asked.cache.close()
    told = await asyncio.gather(*asked.look_ups, return_exceptions=True)
    assert [type(error) for error in told] == [Unavailable, Unavailable]
