"""Redis unreachable, stopped, restarted empty: what goes on, and what says so."""

from __future__ import annotations

import signal
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from grpc import StatusCode
from redis import Redis

from holdfast.protos import content_pb2 as pb
from tests.servers.redis import RedisServer
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, eventually, refused, sha256

MIB = 2**20
HELLO = sha256(b"hello")


async def reads_on(client: Tenant) -> None:
    """What is committed can be read as before."""
    assert await client.read(HELLO) == b"hello"
    assert dict((await client.info(HELLO)).labels) == {"k": "v"}
    assert [info.digest for info in await client.list()] == [HELLO]


def what_needs_redis(client: Tenant) -> Iterator[Coroutine[Any, Any, object]]:
    """Calls that can't be answered without Redis, to be waited for one by one."""
    yield client.write("ref").send(pb.STAT)
    yield client.delete(HELLO)
    yield client.status("ref")
    yield client.statuses()
    yield client.abort("ref")
    yield client.update(HELLO, {})


async def test_rights_taken_away(own_fleet: Fleet, redis: RedisServer) -> None:
    """Without rights in Redis, what needs it says so; reading goes on; all goes on with them."""
    frontend = await own_fleet.frontend()
    client = frontend.tenant("a")
    await client.commit("ref", b"hello", labels={"k": "v"})
    with Redis.from_url(redis.url) as administrator:
        administrator.acl_setuser("default", categories=["-@all"], commands=["+acl"])
        await reads_on(client)
        for call in what_needs_redis(client):
            assert "Redis refuses" in await refused(StatusCode.PERMISSION_DENIED, call)
        administrator.acl_setuser("default", categories=["+@all"])
    assert not any(loop.done() for loop in frontend.running.loops)
    await client.delete(HELLO)
    await client.commit("ref", b"hello")
    assert await client.read(HELLO) == b"hello"


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_reading_goes_on(own_fleet: Fleet, redis: RedisServer, how: str) -> None:
    """Without Redis, Read and Info of committed content go on; what needs it is UNAVAILABLE."""
    client = (await own_fleet.frontend()).tenant("a")
    await client.commit("ref", b"hello", labels={"k": "v"})
    if how == "killed":
        redis.stop()
    else:
        redis.signal(signal.SIGSTOP)
    await reads_on(client)
    for call in what_needs_redis(client):
        assert "Redis" in await refused(StatusCode.UNAVAILABLE, call)
    if how == "killed":
        redis.start()
    else:
        redis.signal(signal.SIGCONT)

    async def deleted() -> bool:
        await client.delete(HELLO)
        return await client.list() == []

    await eventually(deleted)


async def test_a_stream_whose_redis_went(own_fleet: Fleet, redis: RedisServer, fill: Fill) -> None:
    """A stream that loses Redis fails in bounded time, and starts over when it is back, empty."""
    client = (await own_fleet.frontend()).tenant("a")
    data = fill(20 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 9 * MIB])
    redis.stop()

    async def rest() -> None:
        await stream.write_all(data, start=9 * MIB)
        await stream.send(pb.COMMIT)

    await refused(StatusCode.UNAVAILABLE, rest())
    redis.start()
    again = client.write("ref")
    assert (await again.send(pb.STAT)).offset == 0
    await again.write_all(data)
    assert (await again.send(pb.COMMIT)).digest == sha256(data)
    assert await client.read(sha256(data)) == data


async def test_commit_whose_redis_went(own_fleet: Fleet, redis: RedisServer, fill: Fill) -> None:
    """A COMMIT that can't be frozen fails with UNAVAILABLE and commits nothing."""
    client = (await own_fleet.frontend()).tenant("a")
    data = fill(9 * MIB)
    stream = client.write("ref")
    await stream.write_all(data)
    redis.stop()
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    redis.start()
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))


async def test_restarted_empty(own_fleet: Fleet, redis: RedisServer, fill: Fill) -> None:
    """A Redis that came back empty costs a resumption, never committed content."""
    one, two = await own_fleet.frontend(), await own_fleet.frontend()
    data = fill(9 * MIB)
    await one.tenant("a").commit("done", b"hello")
    stream = one.tenant("a").write("ref")
    await stream.write_all(data)
    redis.stop()
    redis.start()
    await refused(StatusCode.ABORTED, stream.send(pb.COMMIT))
    assert await two.tenant("a").read(HELLO) == b"hello"
    assert [info.digest for info in await two.tenant("a").list()] == [HELLO]
    fresh = two.tenant("a").write("ref")
    assert (await fresh.send(pb.STAT)).offset == 0
    await fresh.write_all(data)
    assert (await fresh.send(pb.COMMIT)).digest == sha256(data)
