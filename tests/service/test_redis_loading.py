"""A Redis that loads its data after a restart: what goes on, and that the rest comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.probe import probe
from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.port import ObjectStore
from tests.servers.process import wait_until
from tests.servers.redis_loading import LoadingRedis, loading
from tests.service.fleet import Fleet, refused, sha256
from tests.service.processes import connected, serving
from tests.service.test_redis_away import what_needs_redis

HELLO = sha256(b"hello")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[LoadingRedis]:
    """A Redis of the test's own."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with loading(folder) as server:
        yield server


async def test_a_frontend_that_runs(
    redis: LoadingRedis, folder_store: ObjectStore, tmp_path: Path
) -> None:
    """While Redis loads, reads go on and what needs it says why; then all goes on by itself."""
    fleet = Fleet(folder_store, redis.url, {"data_dir": tmp_path, "suspend_grace": 5.0})
    async with fleet.stack:
        frontend = await fleet.frontend()
        client = frontend.tenant("a")
        await client.commit("ref", b"hello", labels={"k": "v"})
        redis.restart()
        assert await client.read(HELLO) == b"hello"
        assert dict((await client.info(HELLO)).labels) == {"k": "v"}
        for call in what_needs_redis(client):
            assert "Redis is loading its data" in await refused(StatusCode.UNAVAILABLE, call)
        assert redis.is_loading()
        redis.finish()
        assert not any(loop.done() for loop in frontend.running.loops)
        await client.delete(HELLO)
        await client.commit("ref", b"hello")
        assert await client.read(HELLO) == b"hello"


async def test_a_probe(redis: LoadingRedis) -> None:
    """A Redis that loads isn't taken for an unfit one: it is Unavailable, as one that is away."""
    redis.restart()
    client = open_client(redis.url)
    with pytest.raises(Unavailable, match="Redis is loading its data"):
        await probe(client)
    redis.finish()
    assert all(check.ok for check in await probe(client) if check.essential)
    await close_client(client)


async def test_a_frontend_that_starts(redis: LoadingRedis, tmp_path: Path) -> None:
    """A frontend that starts meanwhile serves reads, and the rest when Redis has loaded."""
    redis.restart()
    with serving(tmp_path / "log", redis_url=redis.url, data_dir=tmp_path / "data") as served:
        assert served.event("Redis unreachable; only reads are served until it answers")
        async with connected(served.address, "a") as client:
            await refused(StatusCode.UNAVAILABLE, client.write("ref").send(pb.STAT))
            redis.finish()
            wait_until(
                lambda: served.event("Redis answers; writes are served") is not None,
                "the end of loading",
            )
            await client.commit("ref", b"hello")
            assert await client.read(HELLO) == b"hello"
