"""Redis and all frontends are gone: what was committed is in the bucket, and that is enough."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from moto.s3.models import s3_backends

from holdfast.protos import content_pb2 as pb
from tests.conformance.stage import on_s3
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.fleet import Tenant, refused, sha256
from tests.service.processes import connected
from tests.upgrades.client import CONTENT, HALF
from tests.upgrades.replacing import beside
from tests.upgrades.versions import Version

TENANTS = 3
WRITERS = 8
PATIENCE = 240.0
"""Seconds until a frontend serves that may have to wait for another Redis, which it gives 180 s."""
THOUSANDS = [pytest.mark.slow, pytest.mark.minio, pytest.mark.timeout(1800)]
Held = Mapping[str, tuple[Any, ...]]


def content(unique: str, number: int) -> bytes:
    """Mostly inline blobs, some objects, and one of several parts."""
    if number == 0:
        return unique.encode() + CONTENT
    return f"{number} of {unique} ".encode() * (9_000 if number % 50 == 1 else 3)


@asynccontextmanager
async def fleet(
    log: Path, version: Version, settings: Mapping[str, Any], unique: str
) -> AsyncIterator[list[Tenant]]:
    """A new frontend, and the calls of all tenants; it ends without having a chance to tidy."""
    async with beside(version.serving(log, **settings)) as served:
        async with (
            connected(served.address, f"{unique}-0") as a,
            connected(served.address, f"{unique}-1") as b,
            connected(served.address, f"{unique}-2") as c,
        ):
            yield [a, b, c]
        await asyncio.to_thread(served.kill)


async def held(tenant: Tenant) -> Held:
    """All that a tenant is told of what it holds."""
    return {
        info.digest: (
            info.size,
            sorted(info.labels.items()),
            info.created_at.ToNanoseconds(),
            info.updated_at.ToNanoseconds(),
        )
        for info in await tenant.list()
    }


def an_hour_ago(s3: S3Server, prefix: str) -> None:
    """Lets the bucket look as if nobody had used it for an hour: a newcomer waits for less then."""
    [backends] = [one for account in s3_backends.values() for one in account.values()]
    keys = backends.buckets[s3.bucket].keys
    paired = keys[f"{prefix}/fleet/redis"]
    paired.last_modified -= dt.timedelta(hours=1)


@pytest.fixture(params=[120, pytest.param(10_000, marks=THOUSANDS)])
def blobs(request: pytest.FixtureRequest) -> int:
    """How many blobs there are."""
    number: int = request.param
    return number


@pytest.fixture
def s3(blobs: int, request: pytest.FixtureRequest) -> S3Server:
    """The store: thousands take one that is fast."""
    server: S3Server = request.getfixturevalue("minio" if blobs > 1000 else "moto")
    return server


async def test_the_bucket_is_enough(
    old: Version,
    new: Version,
    s3: S3Server,
    tmp_path: Path,
    unique: str,
    blobs: int,
    record_property: Callable[[str, object], None],
) -> None:
    """On an empty Redis all holds and bytes are as they were, and only open ingests are lost."""
    settings = {
        **on_s3(s3, unique),
        "disk_cache_budget": 0,
        "tenant_ingests": 0,
        "patience": PATIENCE,
    }
    lost, empty = tmp_path / "lost", tmp_path / "empty"
    lost.mkdir()
    empty.mkdir()
    with RedisServer(lost) as redis:
        used = {**settings, "redis_url": redis.url}
        async with fleet(tmp_path / "before.log", old, used, unique) as tenants:
            numbers = iter(range(blobs))

            async def write() -> None:
                for number in numbers:
                    data = content(unique, number)
                    labels = {"number": str(number)}
                    await tenants[number % TENANTS].commit(f"ref-{number}", data, labels=labels)

            await asyncio.gather(*(write() for _ in range(WRITERS)))
            stream = tenants[0].write("open")
            await stream.write_all(CONTENT[:HALF])
            await stream.half_close()
            before = [await held(tenant) for tenant in tenants]
    assert sum(map(len, before)) == blobs
    if blobs <= 1000:
        an_hour_ago(s3, unique)
    with RedisServer(empty) as redis:
        used = {**settings, "redis_url": redis.url}
        began = time.monotonic()
        async with fleet(tmp_path / "after.log", new, used, unique) as tenants:
            record_property("seconds to a frontend that serves", time.monotonic() - began)
            assert [await held(tenant) for tenant in tenants] == before
            record_property("seconds to all holds listed", time.monotonic() - began)
            for number in range(0, blobs, max(1, blobs // 60)):
                data = content(unique, number)
                assert await tenants[number % TENANTS].read(sha256(data)) == data
            await refused(grpc.StatusCode.NOT_FOUND, tenants[0].status("open"))
            stream = tenants[0].write("open")
            assert (await stream.send(pb.STAT)).offset == 0
            await stream.write_all(CONTENT[:HALF])
            await stream.send(pb.COMMIT, offset=HALF)
            done = {name: value for name, value in used.items() if name != "patience"}
            await asyncio.to_thread(new.done, "gc", **done)
            assert await tenants[0].read(sha256(CONTENT[:HALF])) == CONTENT[:HALF]
            assert [await held(tenant) for tenant in tenants[1:]] == before[1:]
