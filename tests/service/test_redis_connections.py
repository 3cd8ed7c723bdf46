"""How many connections a frontend has to Redis, whatever its clients do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast.service.core import owner
from holdfast.storage.port import ObjectStore
from tests.servers.redis import RedisServer
from tests.servers.redis_topologies import admin, port_of
from tests.service.fleet import Fleet, sha256

MOST = 8
"""Connections of a frontend to one server."""
WRITERS = 150


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as server:
        yield server


@pytest.fixture
async def own_fleet(
    folder_store: ObjectStore, redis: RedisServer, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Frontends on that Redis."""
    fleet = Fleet(folder_store, redis.url, {"data_dir": tmp_path, "suspend_grace": 5.0})
    async with fleet.stack:
        yield fleet


async def test_few_connections(own_fleet: Fleet, redis: RedisServer) -> None:
    """A frontend has a handful of connections, however many writes, Infos and Lists run at once."""
    frontend = await own_fleet.frontend()
    tenant, server = frontend.tenant("a"), admin(port_of(redis.url))
    bodies = [str(number).encode() for number in range(WRITERS)]
    most = 0

    async def push(number: int, body: bytes) -> None:
        nonlocal most
        await tenant.commit(f"ref{number}", body)
        await asyncio.gather(tenant.info(sha256(body)), tenant.statuses())
        most = max(most, len(server.client_list()))

    await asyncio.gather(*(push(number, body) for number, body in enumerate(bodies)))
    assert 1 < most <= MOST + 1  # the test's own is one of them


async def test_whose_they_are(own_fleet: Fleet, redis: RedisServer) -> None:
    """CLIENT LIST names the process that asks."""
    frontend = await own_fleet.frontend()
    await frontend.tenant("a").statuses()
    names = {one["name"] for one in admin(port_of(redis.url)).client_list()}
    assert f"holdfast/{owner()}" in names
