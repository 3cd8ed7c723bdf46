"""Requests to S3 and Redis, counted on the wire: a regression shows without a clock."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.capacity.counts import COUNTS
from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest.sessions import PROGRESS_INTERVAL
from tests.servers.s3 import S3Server
from tests.service.request_cases import CASES
from tests.service.wire import PARTS, PROGRESS, Wire, counted_wire
from tests.service.write_request_cases import SMALL_WRITE

PART = 8 * 2**20
BLOCK = 4 * 2**20


@pytest.fixture
async def wire(moto: S3Server, redis_url: str, unique: str, tmp_path: Path) -> AsyncIterator[Wire]:
    """A frontend before moto and Redis, with nothing in them that it knows of."""
    async with counted_wire(moto, redis_url, unique, tmp_path) as wire:
        yield wire


def test_all_are_counted() -> None:
    """Each call that the documentation has figures of is played, and no other."""
    assert list(CASES) == list(COUNTS)


@pytest.mark.parametrize("name", CASES)
async def test_requests(wire: Wire, name: str) -> None:
    """Each call makes exactly these requests."""
    await CASES[name](wire)
    assert dict(wire.s3.seen) == COUNTS[name].s3
    assert dict(wire.redis.seen) == COUNTS[name].redis


@pytest.mark.minio
@pytest.mark.parametrize(
    "name",
    [
        "Info, adopting",
        "Read, cold, 20 MiB",
        "Write, whole, 4 KiB",
        "Write, whole, 20 MiB (3 parts)",
        "Write: COMMIT of what the fleet has, parts",
        "Abort",
    ],
)
async def test_requests_on_minio(
    minio: S3Server, redis_url: str, unique: str, tmp_path: Path, name: str
) -> None:
    """Another server makes no difference."""
    async with counted_wire(minio, redis_url, unique, tmp_path) as wire:
        await CASES[name](wire)
        assert dict(wire.s3.seen) == COUNTS[name].s3
        assert dict(wire.redis.seen) == COUNTS[name].redis


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("Info, hot", 0),
        ("Read, hot, ≤ 64 KiB", 0),
        ("Read, hot, 20 MiB", 0),
        ("Unpack of 8 MiB, hot: Info, 256 Reads", 0),
        ("Write: 2,000 WRITEs of 240 bytes", 0),
        ("Write: further STAT", 0),
        ("Write: WRITEs of one part, 8 MiB", 1),
        ("Write: COMMIT, ≤ 64 KiB", 2),
        ("Write, whole, 4 KiB", 2),
        ("Write, whole, 20 MiB (3 parts)", math.ceil(PARTS / PART) + 4),
        ("Read, cold, 20 MiB", math.ceil(PARTS / PART) + 4),
        ("Unpack of 8 MiB, cold: Info, 256 Reads", 2 * PART // BLOCK),
    ],
)
def test_s3_promises(name: str, most: int) -> None:
    """What is promised of the number of S3 requests stays true of what is counted."""
    assert COUNTS[name].all_s3 <= most


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("Info, hot", 1),
        ("Read, cold, 20 MiB", 0),
        ("Write, whole, 4 KiB", 4),
        ("Write: 2,000 WRITEs of 240 bytes", 0),
        ("Write: WRITE of 1 MiB", 0),
        ("Write: WRITEs of one part, 8 MiB", 1),
    ],
)
def test_redis_promises(name: str, most: int) -> None:
    """What is promised of the number of Redis requests stays true of what is counted."""
    assert COUNTS[name].all_redis <= most


async def test_progress(wire: Wire) -> None:
    """However many small WRITEs come, progress is told once per interval at most."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT)
    begun = time.monotonic()
    with wire.counting():
        for number in range(1000):
            await stream.send(pb.WRITE, offset=number * SMALL_WRITE, data=bytes(SMALL_WRITE))
    longest = (time.monotonic() - begun) / PROGRESS_INTERVAL + 1
    assert set(wire.redis.by_the_clock) <= {PROGRESS}
    assert wire.redis.by_the_clock[PROGRESS] <= longest
    stream.cancel()


async def test_a_stream_at_rest_asks_nothing(wire: Wire) -> None:
    """A stream that doesn't move has nothing to tell."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT)
    sessions = wire.frontend.running.frontend.sessions
    await sessions.publish_once()
    with wire.counting():
        for _ in range(5):
            await sessions.publish_once()
    assert not wire.redis.seen + wire.redis.by_the_clock + wire.s3.seen
    stream.cancel()
