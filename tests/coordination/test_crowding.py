"""Whether a Redis accepts as many connections as all frontends may open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from holdfast.checks import Check
from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.crowding import MOST, crowding
from tests.servers.redis import RedisServer
from tests.servers.redis_topologies import Cluster, admin, port_of


@asynccontextmanager
async def frontends(url: str, number: int) -> AsyncIterator[None]:
    """Clients with the names of so many frontends, each with two connections."""
    async with AsyncExitStack() as stack:
        for name in range(number):
            for _ in range(2):
                client = open_client(url, name=f"holdfast/host-{name}/1")
                stack.push_async_callback(close_client, client)
                await client.get("key")
        yield


async def look(url: str) -> list[Check]:
    """What is found."""
    client = open_client(url)
    try:
        return await crowding(client)
    finally:
        await close_client(client)


async def limited(server: RedisServer, most: int) -> Check:
    """What is found at a server that accepts so many connections."""
    admin(port_of(server.url)).config_set("maxclients", most)
    (found,) = await look(server.url)
    return found


async def test_frontends_are_counted(own_redis: RedisServer) -> None:
    """Each process counts with as many connections as it may open, not with those that it has."""
    async with frontends(own_redis.url, 3):
        found = await limited(own_redis, 4 * MOST)
        assert found.found.startswith("3 frontends (or other processes of ours) of 8 connections")
        assert found.found.endswith("maxclients 32")
        assert found.ok
        found = await limited(own_redis, 4 * MOST - 1)
    assert (found.ok, found.essential) == (False, False)
    assert "raise maxclients" in found.advice
    assert "to 32 or more" in found.advice


async def test_connections_of_others(own_redis: RedisServer) -> None:
    """Whoever has them, what is taken is taken."""
    server = admin(port_of(own_redis.url))
    others = [server.connection_pool.make_connection() for _ in range(20)]
    for one in others:
        one.connect()
    assert (await limited(own_redis, 60)).ok
    found = await limited(own_redis, 25)
    assert not found.ok
    assert found.found.startswith("no frontend seen, 2")
    for one in others:
        one.disconnect()


async def test_a_user_who_may_not_list(own_redis: RedisServer) -> None:
    """Without CLIENT LIST the connections that there are now are compared all the same."""
    server = admin(port_of(own_redis.url))
    rules: Sequence[str] = ("on", ">secret", "~*", "&*", "+@all", "-client")
    server.execute_command("ACL", "SETUSER", "u", *rules)
    (found,) = await look(f"redis://u:secret@127.0.0.1:{port_of(own_redis.url)}/0")
    assert found.ok
    assert found.found.startswith("no frontend seen, ")


async def test_each_master_of_a_cluster(cluster: Cluster) -> None:
    """In a cluster each master has a limit of its own."""
    async with frontends(cluster.url, 1):
        found = {check.name: check for check in await look(cluster.url)}
    assert set(found) == {f"Redis 127.0.0.1:{port} connections" for port in cluster.ports}
    assert all(check.ok for check in found.values())
    assert all("1 frontends" in check.found for check in found.values())


async def test_a_server_that_names_no_limit() -> None:
    """A server that doesn't say how many it accepts is no finding."""

    class Terse:
        async def info(self, **_: Any) -> dict[str, Any]:
            return {"connected_clients": 3}

        async def client_list(self, **_: Any) -> list[dict[str, str]]:
            return []

    terse: Any = Terse()
    assert [check.ok for check in await crowding(terse)] == [True]
