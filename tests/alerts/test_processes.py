"""Processes and backends that are ill in rarer ways: the alert, its panel, its runbook, its end."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from redis.asyncio import Redis

from holdfast.protos import content_pb2 as pb
from tests.agent.lying import lying_frontend
from tests.agent.test_wrong_bytes import flip
from tests.alerts.incident import (
    FLIPPED_ONCE,
    PAUSE,
    Site,
    agent_site,
    back,
    meanwhile,
    site,
    spoil,
)
from tests.servers.s3 import S3Server
from tests.service.fleet import Tenant, refused, sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20


async def ask(client: Tenant) -> None:
    """Asks for what nobody has, whatever the answer."""
    for number in count():
        with suppress(AioRpcError):
            await client.info(sha256(f"{number}".encode()))
        await asyncio.sleep(PAUSE)


async def test_the_frontend_is_gone(watched: Site) -> None:
    """No process is scraped, until one runs again."""
    alert = "HoldfastAbsent"
    await watched.rest(alert)
    await asyncio.to_thread(watched.served.terminate)
    await watched.fires(alert)
    await watched.confirm(alert)
    async with back(watched):
        await watched.rests(alert)


async def test_redis_is_slow(watched: Site) -> None:
    """Each request to Redis waits for a moment, as behind a disk that is busy."""
    alert = "HoldfastRedisSlow"

    async def pause() -> None:
        async with Redis.from_url(watched.redis.url) as client:
            while True:
                await client.client_pause(200)
                await asyncio.sleep(PAUSE)

    await watched.rest(alert)
    async with meanwhile(pause()):
        await watched.fires(alert)
        await watched.confirm(alert)
    await watched.rests(alert)


async def test_calls_are_unavailable(watched: Site) -> None:
    """The store hangs, and so does each Info of what nobody has in memory."""
    alert = "HoldfastUnavailable"
    async with meanwhile(ask(watched.client)):
        await watched.rest(alert)
        watched.store.fault = "hung"
        await watched.fires(alert)
        watched.store.fault = ""
        await watched.rests(alert)


async def test_a_read_fails_as_it_never_should(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A Read ends with DATA_LOSS, and the log says what was found."""
    alert, data = "HoldfastFails", unique.encode() * MIB
    async with site(moto, tmp_path, unique) as watched:
        await watched.client.commit("ref", data)
        await asyncio.to_thread(spoil, moto, unique, sha256(data))

        async def read() -> None:
            while True:
                await refused(StatusCode.DATA_LOSS, watched.client.read(sha256(data)))
                await asyncio.sleep(PAUSE)

        await watched.rest(alert)
        async with meanwhile(read()):
            await watched.fires(alert)
        assert watched.served.event("damage found")
        await watched.rests(alert)


async def read_cold(client: Tenant, unique: str) -> None:
    """Commits blobs and reads them, whose bytes come from the store."""
    for number in count():
        data = f"{unique} {number} ".encode() * 20_000
        await client.commit(f"ref-{number}", data)
        assert await client.read(sha256(data)) == data
        await asyncio.sleep(PAUSE)


async def test_bits_flip_on_the_way(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The first answer with each object's data has a wrong bit, and no Read notices."""
    alert = "HoldfastMisreads"
    async with site(moto, tmp_path, unique) as watched:
        await watched.rest(alert)
        async with meanwhile(read_cold(watched.client, unique)):
            watched.store.fault = FLIPPED_ONCE
            await watched.fires(alert)
            watched.store.fault = ""
        await watched.rests(alert)


async def test_leases_are_lost(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """Redis is away for longer than a lease lasts."""
    alert = "HoldfastLeasesLost"
    async with site(moto, tmp_path, unique, lease_ttl=3) as watched:
        await watched.rest(alert)
        streams = [watched.client.write(f"ref-{number}") for number in range(12)]
        for stream in streams:
            await stream.send(pb.STAT, total=5)
        watched.redis.stop()
        await watched.fires(alert)
        await watched.confirm(alert)
        watched.redis.start()
        await watched.rests(alert)


async def test_the_loop_is_late(watched: Site) -> None:
    """The process stands still for two seconds."""
    alert, process = "HoldfastLoopLate", watched.served.process
    await watched.rest(alert)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2)  # what is tested is that time passes
    process.send_signal(signal.SIGCONT)
    await watched.fires(alert)
    await watched.confirm(alert)
    await watched.rests(alert)


def descriptors(pid: int) -> set[int]:
    """The descriptors that a process has open."""
    return {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}


@asynccontextmanager
async def at_most(pid: int, most: int) -> AsyncIterator[None]:
    """Bounds the descriptors of a process, until the block is left."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


async def test_descriptors_are_few(watched: Site) -> None:
    """Clients open connections until most descriptors are used, and leave again."""
    alert, pid = "HoldfastFewDescriptors", watched.served.process.pid
    await watched.rest(alert)
    usual = len(descriptors(pid))
    async with at_most(pid, 4 * usual), AsyncExitStack() as stack:
        for _ in range(int(2.5 * usual)):
            _, writer = await asyncio.open_connection("127.0.0.1", watched.served.port)
            stack.callback(writer.close)
        await watched.fires(alert)
    await watched.rests(alert)


async def test_no_descriptor_is_left(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A connection can't be accepted, until the bound is raised."""
    alert = "HoldfastTransportRefuses"
    async with site(moto, tmp_path, unique) as watched:
        pid = watched.served.process.pid
        await watched.rest(alert)
        first_free = min(set(range(2**16)) - descriptors(pid))
        async with at_most(pid, first_free):
            _, writer = await asyncio.open_connection("127.0.0.1", watched.served.port)
            await watched.fires(alert)
        await watched.confirm(alert)
        await watched.rests(alert)
        writer.close()


async def test_an_agent_is_alone(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The one frontend of an agent goes, and comes back."""
    alert = "HoldfastAgentAlone"
    async with (
        site(moto, tmp_path, unique) as frontend,
        agent_site(frontend, frontend.served.address, tmp_path / "agent") as watched,
        meanwhile(ask(watched.client)),
    ):
        await watched.rest(alert)
        await asyncio.to_thread(frontend.served.terminate)
        await watched.fires(alert)
        await watched.confirm(alert)
        async with back(frontend):
            await watched.rests(alert)


async def test_a_frontend_lies(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """An agent is sent wrong bytes, hands out none of them, and its log names the frontend."""
    alert, data = "HoldfastWrongBytes", unique.encode() * MIB
    async with site(moto, tmp_path, unique) as frontend:
        await frontend.client.commit("ref", data)
        port, tenant = frontend.served.port, frontend.words["TENANT"]
        async with lying_frontend(port, tenant, flip) as liar:
            address = f"127.0.0.1:{liar.port}"
            async with agent_site(frontend, address, tmp_path / "agent") as watched:
                await watched.rest(alert)
                await refused(StatusCode.DATA_LOSS, watched.client.read(sha256(data)))
                await watched.fires(alert)
                assert watched.served.event("wrong bytes refused; another frontend is asked")
                await watched.rests(alert)
