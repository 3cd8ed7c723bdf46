"""Frontends of one store, each with a Redis of its choice, by a clock that never waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.identity import Identity
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.target import place
from holdfast.service.pairing import Pairing
from holdfast.service.process.workers import Workers
from holdfast.service.store.pairing import AsyncPaired
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import uuid7
from holdfast.storage.pairing import Kept, Paired, look
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from tests.servers.redis import RedisServer
from tests.stores.counting import CountingStore


class Seen(Exception):  # noqa: N818 -- the end of a test
    """What a test waited for."""


@dataclass
class Clock:
    """A clock that pauses move on, for the process and the store alike."""

    now: float = 0.0
    hooks: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        """Waits for no time at all; others do what they do meanwhile."""
        self.now += seconds
        for hook in list(self.hooks):
            await hook()


@dataclass
class Site:
    """Frontends of one store, each with a Redis of its choice."""

    store: ObjectStore
    stack: AsyncExitStack
    clock: Clock = field(default_factory=Clock)

    async def frontend(self, url: str, name: str = "", store: ObjectStore | None = None) -> Pairing:
        """What one of them makes of the two."""
        client, workers = open_client(url), Workers(2, 1)
        self.stack.push_async_callback(close_client, client)
        self.stack.push_async_callback(workers.close, 10.0)
        return Pairing(
            AsyncPaired(store or self.store, workers),
            Identity(client, Scripts(client)),
            place=place(url),
            by=name or uuid7(),
            new_name=new_nonce,
            clock=self.clock,
            pause=self.clock.pause,
        )

    async def settled(self, url: str, name: str = "") -> Pairing:
        """One that has begun to serve."""
        frontend = await self.frontend(url, name)
        await frontend.settle()
        return frontend

    @property
    def kept(self) -> Kept:
        """What the store says."""
        return look(self.store)

    @property
    def paired(self) -> Paired:
        """Which Redis that names."""
        assert self.kept.paired is not None
        return self.kept.paired


class Young(CountingStore):
    """A store whose objects were written just now."""

    def now(self) -> float:
        return 0.0


@pytest.fixture
async def site(folder_store: FolderStore) -> AsyncIterator[Site]:
    """A store that no frontend has used yet."""
    async with AsyncExitStack() as stack:
        yield Site(Young(folder_store), stack)


@pytest.fixture
def first(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis."""
    (tmp_path / "first").mkdir()
    with RedisServer(tmp_path / "first") as server:
        yield server


@pytest.fixture
def second(tmp_path: Path) -> Iterator[RedisServer]:
    """Another one."""
    (tmp_path / "second").mkdir()
    with RedisServer(tmp_path / "second") as server:
        yield server
