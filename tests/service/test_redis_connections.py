"""How many connections a frontend has to Redis, whatever its clients do."""

from __future__ import annotations

import asyncio

from holdfast.service.core import owner
from tests.servers.redis import RedisServer
from tests.servers.redis_topologies import admin, port_of
from tests.service.fleet import Fleet, sha256

MOST = 8
"""Connections of a frontend to one server."""
WRITERS = 150


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
