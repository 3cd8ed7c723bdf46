"""A bit that flips on the way, in either direction, at any request that carries bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from holdfast.protos import content_pb2 as pb
from holdfast.storage.keys import HOLDS
from tests.faults.plans import Plan, Point, Strike
from tests.faults.s3_wire import S3Wire, below, s3_wire
from tests.servers.s3 import S3Server
from tests.service.fleet import Fleet, Frontend, refused, sha256

pytestmark = pytest.mark.minio

MIB = 2**20
INLINE, SINGLE, PARTS = 100, 100_000, 17 * MIB
UP = [
    ("put blobs", INLINE),
    ("put blobs", PARTS),
    ("put holds", SINGLE),
    ("put data", SINGLE),
    ("part data", PARTS),
    ("complete data", PARTS),
]
DOWN = [("get blobs", INLINE), ("get blobs", SINGLE), ("get holds", SINGLE), ("get data", SINGLE)]


@pytest.fixture
async def wire(minio: S3Server, redis_url: str) -> AsyncIterator[S3Wire]:
    """A proxy before MinIO that flips bits."""
    async with s3_wire(minio, redis_url, attempts=1) as ground:
        yield ground


@pytest.fixture
async def fleet(wire: S3Wire, unique: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Frontends whose requests reach MinIO undisturbed."""
    settings = {"data_dir": tmp_path, "suspend_grace": 20.0}
    fleet = Fleet(below(wire.direct, unique), wire.redis, settings)
    async with fleet.stack:
        yield fleet


@pytest.fixture
def tenant(unique: str) -> str:
    """A tenant for this test alone."""
    return f"t-{unique}"


async def behind(wire: S3Wire, fleet: Fleet, unique: str, strike: Strike) -> tuple[Frontend, Plan]:
    """A frontend with a bit flipped in some of its requests or their replies."""
    wire.proxy.plans[unique] = plan = Plan(strike)
    plan.arm()
    return await fleet.frontend(store=below(wire.patient, unique)), plan


def content(unique: str, size: int) -> bytes:
    """Bytes that no other test has."""
    return random.Random(unique).randbytes(size)  # noqa: S311 -- content, not a secret


@pytest.mark.parametrize(("kind", "size"), UP)
async def test_on_the_way_up(
    wire: S3Wire, fleet: Fleet, unique: str, tenant: str, kind: str, size: int
) -> None:
    """Bytes of a commit with a flipped bit are refused, and what is read is right."""
    data = content(unique, size)
    frontend, plan = await behind(wire, fleet, unique, Strike(Point(kind, 1), "spoiled"))
    await frontend.tenant(tenant).commit("ref", data, labels={"a": "b"}, expected=sha256(data))
    assert plan.fired == 1
    sound = (await fleet.frontend()).tenant(tenant)
    assert await sound.read(sha256(data)) == data
    info = await sound.info(sha256(data))
    assert (info.size, dict(info.labels)) == (size, {"a": "b"})


async def test_a_tail_on_the_way_up(wire: S3Wire, fleet: Fleet, unique: str, tenant: str) -> None:
    """A tail with a flipped bit is refused: another frontend resumes after all received bytes."""
    data = content(unique, SINGLE)
    frontend, plan = await behind(wire, fleet, unique, Strike(Point("put tails", 1), "spoiled"))
    stream = frontend.tenant(tenant).write("ref")
    await stream.send(pb.STAT, total=2 * SINGLE)
    await stream.write_all(data)
    await stream.half_close()
    assert plan.fired == 1
    stream = (await fleet.frontend()).tenant(tenant).write("ref")
    assert (await stream.send(pb.STAT)).offset == SINGLE
    reply = await stream.send(pb.COMMIT, offset=SINGLE, data=data, expected=sha256(data * 2))
    assert reply.digest == sha256(data * 2)


@pytest.mark.parametrize("kind", ["put data", "put blobs", "put holds"])
async def test_always_on_the_way_up(
    wire: S3Wire, fleet: Fleet, unique: str, tenant: str, kind: str
) -> None:
    """If a bit flips each time, a commit is UNAVAILABLE in the end, and OK once none flips."""
    data = content(unique, SINGLE)
    strike = Strike(Point(kind, 1), "spoiled", times=10_000)
    frontend, plan = await behind(wire, fleet, unique, strike)
    client = frontend.tenant(tenant)
    async with asyncio.timeout(60):
        await refused(StatusCode.UNAVAILABLE, client.commit("ref", data, expected=sha256(data)))
    assert plan.fired < 100
    plan.lift()
    try:
        await client.commit("ref", data, expected=sha256(data))
    except AioRpcError as error:
        # The next stream that opens the ref completes the unfinished commit.
        assert error.code() is StatusCode.ALREADY_EXISTS  # noqa: PT017
    assert await (await fleet.frontend()).tenant(tenant).read(sha256(data)) == data


@pytest.mark.parametrize(("kind", "size"), DOWN)
async def test_on_the_way_down(
    wire: S3Wire, fleet: Fleet, unique: str, tenant: str, kind: str, size: int
) -> None:
    """A bit that flips in a record, a hold or data while it is read changes no answer."""
    data = content(unique, size)
    await (await fleet.frontend()).tenant(tenant).commit("ref", data, labels={"a": "b"})
    frontend, plan = await behind(wire, fleet, unique, Strike(Point(kind, 1), "corrupt"))
    client = frontend.tenant(tenant)
    info = await client.info(sha256(data))
    assert (info.size, dict(info.labels)) == (size, {"a": "b"})
    assert await client.read(sha256(data)) == data
    assert plan.fired == 1
    held = list(fleet.store.list(f"{HOLDS}{tenant}/"))
    assert len(held) == 1


async def test_a_tail_on_the_way_down(wire: S3Wire, fleet: Fleet, unique: str, tenant: str) -> None:
    """A bit that flips while a tail is read back loses no received byte."""
    data = content(unique, SINGLE)
    stream = (await fleet.frontend()).tenant(tenant).write("ref")
    await stream.send(pb.STAT, total=2 * SINGLE)
    await stream.write_all(data)
    await stream.half_close()
    frontend, plan = await behind(wire, fleet, unique, Strike(Point("get tails", 1), "corrupt"))
    stream = frontend.tenant(tenant).write("ref")
    assert (await stream.send(pb.STAT)).offset == SINGLE
    reply = await stream.send(pb.COMMIT, offset=SINGLE, data=data, expected=sha256(data * 2))
    assert plan.fired == 1
    assert reply.digest == sha256(data * 2)
    assert await frontend.tenant(tenant).read(sha256(data * 2)) == data * 2
