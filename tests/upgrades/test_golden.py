"""What each release has left in a store and in Redis is read by this version."""

from __future__ import annotations

import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from redis import Redis

from holdfast.protos import content_pb2 as pb
from holdfast.service.backends import STORE_FOLDER
from tests.servers.redis import RedisServer
from tests.service.fleet import Tenant, refused, sha256
from tests.service.processes import connected
from tests.upgrades.record import BYTES, GOLDEN, HALF, blob, load, told
from tests.upgrades.replacing import beside
from tests.upgrades.versions import Version

RELEASES = sorted(path.name.removesuffix(".tar.xz") for path in GOLDEN.glob("*.tar.xz"))
DAMAGED = blob("damaged", 70_000)


@dataclass(frozen=True)
class Left:
    """What a release has left, served by this version.

    Attributes:
        expected: what its tenants were told, by tenant and digest.
        tenants: their calls now.
        settings: of programs.
    """

    expected: Mapping[str, Mapping[str, Any]]
    tenants: Mapping[str, Tenant]
    settings: Mapping[str, Any]


@pytest.fixture(params=RELEASES)
async def left(new: Version, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Left]:
    """Each release's store and Redis, as if it had written them just now."""
    with tarfile.open(GOLDEN / f"{request.param}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    (tmp_path / "store").rename(tmp_path / STORE_FOLDER)
    for path in (tmp_path / STORE_FOLDER).rglob("*"):
        path.touch()
    with RedisServer(tmp_path) as server:
        client = Redis.from_url(server.url)
        load(client, json.loads((tmp_path / "redis.json").read_text("utf-8")))
        client.close()
        settings = {"data_dir": tmp_path, "redis_url": server.url}
        async with (
            beside(new.serving(tmp_path / "log", **settings)) as served,
            connected(served.address, "a") as a,
            connected(served.address, "b") as b,
        ):
            expected = json.loads((tmp_path / "expected.json").read_text("utf-8"))
            yield Left(expected, {"a": a, "b": b}, settings)


def test_there_are_recordings() -> None:
    """At least one release is recorded: otherwise nothing here would be tried."""
    assert RELEASES


async def test_all_of_it_is_read(left: Left, new: Version) -> None:
    """Holds, labels and bytes are those of the release, and damage is known as damage."""
    a, b = left.tenants["a"], left.tenants["b"]
    for name, tenant in left.tenants.items():
        assert await told(tenant) == left.expected[name]
        for digest in left.expected[name]:
            if digest != sha256(DAMAGED):
                assert sha256(await tenant.read(digest)) == digest
    await refused(grpc.StatusCode.DATA_LOSS, b.read(sha256(DAMAGED)))
    await b.commit("healed", DAMAGED)
    assert await b.read(sha256(DAMAGED)) == DAMAGED
    stream = a.write("open")
    begun = await stream.send(pb.STAT)
    assert (begun.offset, begun.total, begun.digest) == (HALF, len(BYTES), sha256(BYTES[:HALF]))
    await stream.write_all(BYTES, HALF)
    await stream.send(pb.COMMIT, offset=len(BYTES), expected=sha256(BYTES))
    assert await a.read(sha256(BYTES)) == BYTES
    collected = json.loads(new.done("gc", "--json", **left.settings))
    assert collected["retained"]["count"] == 1
    scrubbed = json.loads(new.done("scrub", "--json", **left.settings))
    assert scrubbed["found"] == {}
