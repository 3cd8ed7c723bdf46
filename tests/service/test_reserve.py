"""A store at its quota is emptied by Holdfast's own calls and commands, and then goes on."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.errors import ResourceExhausted
from holdfast.protos import content_pb2 as pb
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.report import CollectionReport
from holdfast.service.process import room
from holdfast.service.settings import Settings
from holdfast.storage.port import IfAbsent, IfMatch, ObjectStore
from holdfast.storage.records import State
from holdfast.storage.reserve import PIECES, PREFIX, Reserve, ReservedStore
from tests.service.collector.world import AGES, Later, World
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, eventually, refused, sha256
from tests.stores.quota import QuotaStore

MIB = 2**20
SIZE = 64 * 1024
AMPLE = 1 << 40
KEEP = 0.01


def reserved(store: ObjectStore, *, tending: bool = False) -> ReservedStore:
    """A process's view of a store with a reserve."""
    source = random.Random(0)  # noqa: S311 -- no secret
    return ReservedStore(store, Reserve(store, SIZE, source.randbytes), tending=tending)


@pytest.fixture
def quota(folder_store: ObjectStore) -> QuotaStore:
    """A folder with room, and then with none."""
    return QuotaStore(folder_store, AMPLE)


@pytest.fixture
def store(quota: QuotaStore) -> ReservedStore:
    """The same, with a reserve that is made."""
    made = reserved(quota)
    made.reserve.keep()
    return made


@pytest.fixture
async def client(folder_fleet: Fleet, store: ReservedStore, tenant: str) -> Tenant:
    """A tenant of a frontend on that store."""
    return (await folder_fleet.frontend(store)).tenant(tenant)


def kept(store: ObjectStore) -> int:
    """How many pieces of the reserve there are."""
    return len(list(store.list(PREFIX)))


async def test_delete(client: Tenant, quota: QuotaStore, fill: Fill) -> None:
    """A Delete in a bucket at its quota takes the hold, at the cost of a piece of the reserve."""
    data = fill(100_000)
    await client.commit("ref", data)
    quota.fill()
    await client.delete(sha256(data))
    assert await client.list() == []
    assert kept(quota) == PIECES - 1


@pytest.mark.parametrize("size", [100, 100_000, 9 * MIB])
async def test_abort_of_a_frozen_ref(
    client: Tenant, quota: QuotaStore, fill: Fill, size: int
) -> None:
    """A commit that found the bucket full is ended by Abort, which gives its bytes back."""
    data = fill(size)
    stream = client.write("ref")
    await stream.send(pb.STAT, total=size)
    await stream.write_all(data)
    await eventually(lambda: size == 100 or quota.used > size + SIZE)
    quota.fill()
    await refused(StatusCode.RESOURCE_EXHAUSTED, stream.send(pb.COMMIT))
    await client.abort("ref")
    assert await client.statuses() == []
    assert (await client.write("ref").send(pb.STAT)).offset == 0
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))


async def test_open_of_a_frozen_ref(client: Tenant, quota: QuotaStore, fill: Fill) -> None:
    """A commit that found the bucket full is carried out by the next open that finds room."""
    data = fill(100_000)
    stream = client.write("ref")
    await stream.write_all(data)
    quota.fill()
    await refused(StatusCode.RESOURCE_EXHAUSTED, stream.send(pb.COMMIT))
    quota.quota = AMPLE
    stream = client.write("ref")
    await stream.send(pb.STAT)
    await stream.write_all(data)
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data


def test_collector(quota: QuotaStore) -> None:
    """A run in a bucket at its quota condemns and buries what nobody holds."""
    reserved(quota).reserve.keep()
    before = World(quota)
    digest = before.commit("a", b"given up")
    before.holds.drop("a", digest)
    quota.fill()
    world = World(Later(reserved(quota, tending=True)))
    report = world.collect()
    assert report.ok, report.errors
    assert world.state(digest) is State.TOMBSTONE


async def test_a_tenant_is_given_up(
    client: Tenant,
    quota: QuotaStore,
    fill: Fill,
    tenant: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    """A tenant that is gone is given up in a bucket at its quota: its holds and its ingests."""
    await client.commit("ref", fill(100_000))
    stream = client.write("other")
    await stream.write_all(fill(9 * MIB))
    await stream.half_close()
    quota.fill()
    tending, report = reserved(quota, tending=True), CollectionReport(dry_run=False)
    settings, stop = Settings(data_dir=tmp_path), threading.Event()
    async with tools(settings, tending, redis_url, AGES, stop=stop) as opened:
        await opened.collect(AGES, report, CollectorOptions(tenants_gone=(tenant,)))
    assert report.ok, report.errors
    assert await client.list() == []
    assert await client.statuses() == []


async def test_writes_go_on(
    client: Tenant, quota: QuotaStore, store: ReservedStore, fill: Fill
) -> None:
    """New bytes are refused while the reserve lacks a piece, and taken when it is whole again."""
    old, new = fill(9 * MIB), fill(100_000)
    await client.commit("ref", old)
    quota.fill()
    await client.delete(sha256(old))
    await refused(StatusCode.RESOURCE_EXHAUSTED, client.commit("new", new))
    for entry in list(quota.list("data/")):
        quota.delete(entry.key)  # as gc does
    store.reserve.keep()
    assert kept(quota) == PIECES
    await client.abort("new")
    await client.commit("new", new)
    assert await client.read(sha256(new)) == new


def test_new_bytes_take_nothing_of_it(quota: QuotaStore, store: ReservedStore) -> None:
    """Data, parts, tails, snapshots, new holds and new records never use the reserve up."""
    upload = store.create_upload("data/a")
    quota.fill()
    for key in ("data/b", "tails/a", "snapshots/a/b/000000"):
        with pytest.raises(ResourceExhausted):
            store.put(key, b"bytes")
    for key in ("holds/a/sha256/aa/b", "blobs/sha256/aa"):
        with pytest.raises(ResourceExhausted):
            store.put(key, b"bytes", IfAbsent())
    with pytest.raises(ResourceExhausted):
        store.put_part("data/a", upload.id, 1, b"bytes")
    assert kept(quota) == PIECES
    assert not store.reserve.short


def test_others_notice(quota: QuotaStore, store: ReservedStore) -> None:
    """A frontend that finds a piece absent and no room for it takes no new bytes either."""
    other = reserved(quota)
    quota.fill()
    store.put("holds/a/sha256/aa/b.deleting", b"")
    store.put("tenants/a/seen", bytes(SIZE // PIECES - 1))
    other.reserve.keep()
    with pytest.raises(ResourceExhausted, match="for Delete and gc"):
        other.put("data/a", b"bytes")
    with pytest.raises(ResourceExhausted, match="for Delete and gc"):
        other.create_upload("data/a")
    assert kept(quota) == PIECES - 1


def test_one_piece_at_a_time(quota: QuotaStore, store: ReservedStore) -> None:
    """Small writes give up a piece only when the last one is used up, and fail after the last."""
    quota.fill()
    for number in range(PIECES):
        store.put(f"tenants/{number}/seen", bytes(SIZE // PIECES - 1))
        assert kept(quota) == PIECES - 1 - number
    with pytest.raises(ResourceExhausted):
        store.put("tenants/x/seen", bytes(PIECES))


def test_who_tends_may_make_holds(quota: QuotaStore) -> None:
    """A command that frees room may write records and holds of what it hands over."""
    reserved(quota).reserve.keep()
    quota.fill()
    store = reserved(quota, tending=True)
    etag = store.put("blobs/sha256/aa", b"a", IfAbsent()).etag
    store.put("blobs/sha256/aa", b"b", IfMatch(etag))
    store.put("holds/a/sha256/aa/b", b"c", IfAbsent())
    with pytest.raises(ResourceExhausted):
        store.put("data/a", b"d")


def test_without_a_reserve(folder_store: ObjectStore) -> None:
    """With a size of 0 there is none, and a full store refuses small writes."""
    quota = QuotaStore(folder_store, AMPLE)
    store = ReservedStore(quota, Reserve(quota, 0, bytes))
    store.reserve.keep()
    quota.fill()
    assert kept(quota) == 0
    with pytest.raises(ResourceExhausted, match="quota"):
        store.put("holds/a/sha256/aa/b.deleting", b"")


async def test_a_frontend_keeps_it(quota: QuotaStore) -> None:
    """A frontend makes the reserve, notices that it is used, and makes it again."""
    store = reserved(quota)
    attending = asyncio.create_task(room.attend(store.reserve, KEEP))
    try:
        await eventually(lambda: kept(quota) == PIECES)
        quota.delete(f"{PREFIX}0")
        await eventually(lambda: kept(quota) == PIECES)
        quota.quota = 0
        quota.delete(f"{PREFIX}0")
        await eventually(lambda: store.reserve.short)
        quota.quota = AMPLE
        await eventually(lambda: kept(quota) == PIECES and not store.reserve.short)
    finally:
        attending.cancel()
