"""A tenant that comes back while it is dropped keeps what it has been told since that it holds.

Every request of the one that drops is a place where the tenant comes back, and every later one
a place where it asks for the blob.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from holdfast.digests import Digest
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.ingests import give_up
from holdfast.service.collector.report import CollectionReport
from holdfast.service.settings import Settings
from holdfast.service.tenants.gone import Gone
from holdfast.storage.keys import HOLDS
from holdfast.storage.records import State, new_nonce
from holdfast.storage.sightings import Sightings
from tests.service.collector.world import AGES, World
from tests.stores.counting import CountingStore, nothing
from tests.stores.memory import MemoryStore

BODIES: Final = (b"one", b"two")
TENANT: Final = "node-1"
Told = list[Digest]
GiveUp = Callable[[Callable[[], bool]], Awaitable[bool]]
Ask = Callable[[World, Told], None]
Return = Callable[[Sightings], None]
"""What a frontend, or another expiry, does to the store when a tenant is back."""


def ask_isolated(world: World, told: Told) -> None:
    """Asks for what it holds itself."""
    told += [digest for digest in map(Digest.of, BODIES) if world.blobs.held(TENANT, digest)]


def ask_shared(world: World, told: Told) -> None:
    """Asks for what it holds, or else the fleet has."""
    for digest in map(Digest.of, BODIES):
        if world.blobs.held(TENANT, digest) or world.adopt(TENANT, digest):
            told.append(digest)


def commit(world: World, told: Told) -> None:
    """Brings the bytes again."""
    told.append(world.commit(TENANT, BODIES[0]))


@asynccontextmanager
async def dropping(store: CountingStore, redis_url: str, folder: Path) -> AsyncIterator[GiveUp]:
    """What gives up all that a tenant has."""
    report, stop = CollectionReport(dry_run=False), threading.Event()
    settings = Settings(data_dir=folder, threads=4)
    async with tools(settings, store, redis_url, AGES, stop=stop) as opened:
        with opened.run(AGES, report, CollectorOptions()) as run:
            yield lambda gone: give_up(run, opened.knowledge, TENANT, gone)


def furnished() -> MemoryStore:
    """A store in which the tenant, and another one, hold the blobs."""
    memory = MemoryStore()
    world = World(memory)
    for body in BODIES:
        world.commit(TENANT, body)
        world.commit("other", body)
    Sightings(memory, new_nonce).touch(TENANT)
    return memory


class Comeback:
    """The tenant, seen at one request of another process and asking at one that isn't earlier."""

    def __init__(
        self, memory: MemoryStore, seen_at: int, asks_at: int, ask: Ask, back: Return
    ) -> None:
        self.told: Told = []
        self.count = 0
        self._memory = memory
        self._at = {"seen": seen_at, "asks": asks_at}
        self._ask = ask
        self._back = back
        self._lock = threading.Lock()

    def before(self, operation: str, key: str) -> None:
        """A hook of the store that the other process uses."""
        del operation, key
        with self._lock:
            if self.count == self._at["seen"]:
                self._back(Sightings(self._memory, new_nonce))
            if self.count == self._at["asks"]:
                self._ask(World(self._memory), self.told)
            self.count += 1


async def drop_all(redis_url: str, folder: Path) -> tuple[int, MemoryStore]:
    """How many requests it takes where nobody comes back, and what is left."""
    memory = furnished()
    store = CountingStore(memory)
    async with dropping(store, redis_url, folder) as drop:
        assert await drop(Gone.from_now_on(Sightings(store, new_nonce), TENANT))
    return len(store.calls), memory


async def test_nobody_comes_back(redis_url: str, tmp_path: Path) -> None:
    """All holds of the tenant go, with their marks, and nobody else's."""
    requests, memory = await drop_all(redis_url, tmp_path)
    assert requests > 10
    tenants = [entry.key.split("/")[1] for entry in memory.list(HOLDS)]
    assert tenants == ["other"] * len(BODIES)


def seen(sightings: Sightings) -> None:
    """A frontend notes it."""
    sightings.touch(TENANT)


def found(sightings: Sightings) -> None:
    """Another expiry finds it, and a frontend that can't note it finds that it isn't missed."""
    sightings.find(TENANT)
    assert not sightings.missed(TENANT)


def missed(sightings: Sightings, *, by_mark: bool = True) -> Gone:
    """As an expiry goes by its mark; or as if only by the sighting that this names."""
    token = sightings.token(TENANT)
    assert sightings.miss(TENANT, token, None)
    return Gone(sightings, TENANT, token, sightings.mark(TENANT) if by_mark else None)


async def losses(
    redis_url: str,
    folder: Path,
    ask: Ask,
    gone_of: Callable[[Sightings], Callable[[], bool]],
    back: Return = seen,
) -> list[tuple[int, int]]:
    """The pairs of moments at which the tenant loses what it was told it holds."""
    requests, _ = await drop_all(redis_url, folder)
    lost = []
    for seen_at, asks_at in product(range(requests), repeat=2):
        if asks_at < seen_at:
            continue
        memory = furnished()
        store = CountingStore(memory)
        gone = gone_of(Sightings(store, new_nonce))
        comeback = Comeback(memory, seen_at, asks_at, ask, back)
        store.calls.clear()
        async with dropping(store, redis_url, folder) as drop:
            store.before = comeback.before
            await drop(gone)
            store.before = nothing
        world = World(memory)
        kept = [digest for digest in comeback.told if world.blobs.held(TENANT, digest)]
        if kept != comeback.told:
            lost.append((seen_at, asks_at))
        assert all(world.state(digest) is State.LIVE for digest in comeback.told)
        assert not [entry for entry in memory.list(HOLDS) if entry.key.endswith(".deleting")]
    return lost


@pytest.mark.parametrize("ask", [ask_isolated, ask_shared, commit])
async def test_it_keeps_what_it_is_told(redis_url: str, tmp_path: Path, ask: Ask) -> None:
    """Whenever it is seen, and whenever it asks after that: what it is told stays true."""
    lost = await losses(redis_url, tmp_path, ask, lambda s: Gone.from_now_on(s, TENANT))
    assert lost == []


@pytest.mark.parametrize("ask", [ask_isolated, ask_shared])
async def test_it_keeps_what_it_is_told_unnoted(redis_url: str, tmp_path: Path, ask: Ask) -> None:
    """What a frontend tells that can't write, because the tenant isn't missed, stays true too."""
    assert await losses(redis_url, tmp_path, ask, missed, found) == []


async def test_without_a_look_at_the_mark_it_would_not(redis_url: str, tmp_path: Path) -> None:
    """The check above tells: the sighting alone doesn't say that a tenant was found."""
    by_sighting = partial(missed, by_mark=False)
    assert await losses(redis_url, tmp_path, ask_isolated, by_sighting, found)


@pytest.mark.parametrize("ask", [ask_isolated, ask_shared, commit])
async def test_without_the_look_after_the_marks_it_would_not(
    redis_url: str, tmp_path: Path, ask: Ask
) -> None:
    """The check above tells: one that never looks again takes away what was promised."""
    assert await losses(redis_url, tmp_path, ask, lambda _: lambda: True)
