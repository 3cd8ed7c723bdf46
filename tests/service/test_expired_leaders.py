"""A tenant that is expired while others wait for its write costs them time, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest

from holdfast.protos import content_pb2 as pb
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.ingests import give_up
from holdfast.service.collector.report import CollectionReport
from holdfast.service.settings import Settings
from tests.service.collector.world import AGES
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Stream, Tenant, eventually, refused, sha256

LARGE = 3 * 2**20
HALF = LARGE // 2
NEVER = 600.0
SOON = 1.0
ABORTED = grpc.StatusCode.ABORTED
NOT_FOUND = grpc.StatusCode.NOT_FOUND


async def opened(tenant: Tenant, data: bytes) -> Stream:
    """A stream for these bytes, which has told their total, as containerd does."""
    stream = tenant.write(f"layer-{sha256(data)}")
    await stream.send(pb.STAT, total=len(data))
    return stream


async def expired(fleet: Fleet, folder: Path, tenant: str) -> None:
    """A tenant gives up all that it has, as `tenants expire --apply` makes it."""
    report, stop = CollectionReport(dry_run=False), threading.Event()
    settings = Settings(data_dir=folder)
    async with tools(settings, fleet.store, fleet.redis_url, AGES, stop=stop) as opened:
        with opened.run(AGES, report, CollectorOptions()) as run:
            assert await give_up(run, opened.knowledge, tenant)


@pytest.mark.parametrize(
    ("wait", "patience"), [(NEVER, SOON), (SOON, NEVER)], ids=["patience", "wait"]
)
async def test_a_leader_that_is_expired(
    folder_fleet: Fleet, tmp_path: Path, unique: str, fill: Fill, wait: float, patience: float
) -> None:
    """Others get in after the patience, and after the wait, whichever ends first, and are right."""
    one, two = [
        await folder_fleet.frontend(flight_wait=wait, flight_patience=patience) for _ in range(2)
    ]
    data = fill(LARGE)
    leader, other = one.tenant(f"{unique}-1"), two.tenant(f"{unique}-2")
    leading = await opened(leader, data)
    await leading.write_all(data[:HALF])
    await refused(grpc.StatusCode.UNAVAILABLE, opened(other, data))
    await expired(folder_fleet, tmp_path, f"{unique}-1")

    following: list[Stream] = []

    async def admitted() -> bool:
        await refused(NOT_FOUND, other.info(sha256(data)))
        try:
            following.append(await opened(other, data))
        except grpc.aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return bool(following)

    await eventually(admitted)
    await refused(ABORTED, leading.send(pb.WRITE, offset=HALF, data=data[HALF:]))
    await following[0].write_all(data)
    await following[0].send(pb.COMMIT, offset=LARGE, expected=sha256(data))
    assert await other.read(sha256(data)) == data
    assert (await leader.info(sha256(data))).size == LARGE
    assert await leader.statuses() == []


async def test_a_leader_that_is_expired_and_comes_back(
    folder_fleet: Fleet, tmp_path: Path, unique: str, fill: Fill
) -> None:
    """A tenant that was expired in mid-write begins anew, without a byte of what it had sent."""
    frontend = await folder_fleet.frontend(flight_wait=NEVER, flight_patience=NEVER)
    data, leader = fill(LARGE), frontend.tenant(f"{unique}-1")
    leading = await opened(leader, data)
    await leading.write_all(data[:HALF])
    await expired(folder_fleet, tmp_path, f"{unique}-1")
    await refused(ABORTED, leading.send(pb.WRITE, offset=HALF, data=data[HALF:]))
    again = leader.write(f"layer-{sha256(data)}")
    assert (await again.send(pb.STAT, total=LARGE)).offset == 0
    await again.write_all(data)
    await again.send(pb.COMMIT, offset=LARGE, expected=sha256(data))
    assert await leader.read(sha256(data)) == data
