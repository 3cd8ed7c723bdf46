"""A balancer that forgets idle connections without telling either end: calls go on on others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast.clocks import uptime
from holdfast.protos import content_pb2 as pb
from holdfast.storage.s3 import S3Settings, S3Store
from holdfast.storage.s3_idle import KEPT
from tests.servers.dropping_proxy import DroppingProxy, dropping_proxy
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, sha256

pytestmark = pytest.mark.minio

DEADLINE = 3.0
SILENCE = 3.0
"""Seconds without a byte from S3 after which a part is sent again: what is on its way when its
connection is dropped is noticed by nothing else. The default is longer than a test lasts."""
AT_ONCE = 6
"""Calls that leave as many idle connections behind, and meet as many dropped ones."""
MIB = 2**20
Call = Callable[[Tenant, bytes], Coroutine[Any, Any, Any]]


@dataclass
class Clock:
    """That of the machine, and what a test adds to it."""

    added: float = 0.0

    def __call__(self) -> float:
        return uptime() + self.added


@dataclass
class Site:
    """Frontends behind balancers, whose store has a clock that a test can put forward."""

    s3: DroppingProxy
    redis: DroppingProxy
    fleet: Fleet
    clock: Clock

    async def client(self, name: str) -> Tenant:
        """A tenant of one frontend."""
        return (await self.fleet.frontend(call_deadline=DEADLINE)).tenant(name)


@pytest.fixture
async def site(minio: S3Server, redis_url: str, unique: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Such a site on MinIO and the test run's Redis."""
    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(dropping_proxy(urlsplit(minio.endpoint).port or 0))
        target = urlsplit(redis_url)
        redis = await stack.enter_async_context(dropping_proxy(target.port or 0))
        settings = S3Settings(
            bucket=minio.bucket,
            endpoint=f"http://127.0.0.1:{s3.port}",
            prefix=f"{unique}/",
            path_style=True,
            read_timeout=SILENCE,
        )
        clock = Clock()
        store = S3Store(settings, elapsed=clock)
        stack.push_async_callback(asyncio.to_thread, store.close)
        url = target._replace(netloc=f"127.0.0.1:{redis.port}").geturl()
        fleet = Fleet(store, url, {"data_dir": tmp_path, "suspend_grace": 1.0})
        await stack.enter_async_context(fleet.stack)
        yield Site(s3, redis, fleet, clock)


async def info(client: Tenant, body: bytes) -> None:
    """An Info of what nobody has cached."""
    await client.info(sha256(body))


async def read(client: Tenant, body: bytes) -> None:
    """A Read of it."""
    assert await client.read(sha256(body)) == body


async def listed(client: Tenant, _: bytes) -> None:
    """A List."""
    assert len(await client.list()) == AT_ONCE


async def commit(client: Tenant, body: bytes) -> None:
    """A commit of something new."""
    new = body + b", and more"
    await client.commit(sha256(new), new)


async def delete(client: Tenant, body: bytes) -> None:
    """A Delete."""
    await client.delete(sha256(body))


async def warm(site: Site, tenant: str, bodies: list[bytes]) -> Tenant:
    """A client whose frontend has talked to S3 and to Redis on many connections at once."""
    first = await site.client(tenant)
    await asyncio.gather(*(first.commit(sha256(body), body) for body in bodies))
    client = await site.client(tenant)
    await asyncio.gather(*(client.list() for _ in bodies))
    return client


@pytest.mark.parametrize("call", [info, read, listed, commit, delete])
async def test_both_drop(site: Site, tenant: str, call: Call) -> None:
    """Calls that meet dropped connections are answered on others, within their deadline."""
    bodies = [f"body {number}".encode() for number in range(AT_ONCE)]
    client = await warm(site, tenant, bodies)
    site.s3.drop()
    site.redis.drop()
    await asyncio.gather(*(call(client, body) for body in bodies))
    assert site.s3.dropped + site.redis.dropped


async def test_long_idle(site: Site, tenant: str) -> None:
    """A connection to S3 that was idle for longer than balancers wait isn't tried any more."""
    bodies = [f"body {number}".encode() for number in range(AT_ONCE)]
    client = await warm(site, tenant, bodies)
    site.s3.drop()
    site.clock.added = KEPT + 1.0
    for call in (info, read, listed, commit):
        await call(client, bodies[0])
    assert not site.s3.dropped


async def test_an_upload_goes_on(site: Site, tenant: str, fill: Fill) -> None:
    """Connections that are dropped in the middle of an upload don't end its stream."""
    client = await warm(site, tenant, [b"body"])
    data = fill(20 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 9 * MIB])
    site.s3.drop()
    site.redis.drop()
    await stream.write_all(data, start=9 * MIB)
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data
