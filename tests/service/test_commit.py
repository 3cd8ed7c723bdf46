"""Commits under faults: what a lost reply, a crash or a vanished object leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from grpc import StatusCode

from holdfast.errors import HoldfastError, OutcomeUnknown, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Stream, eventually, refused, sha256
from tests.stores.counting import CountingStore

MIB = 2**20
Test = TypeVar("Test", bound=Callable[..., Any])
Hook = Callable[[str, str], None]


def at_every_write(test: Test) -> Test:
    """Runs a test with a fault at each write of a commit that decides something."""
    writes = [("put", "holds/", 9 * MIB), ("complete_upload", "data/", 9 * MIB)]
    records = [("put", "blobs/", size) for size in (100, 100_000, 9 * MIB)]
    moments = pytest.mark.parametrize("moment", ["before", "after"])
    places = pytest.mark.parametrize(("operation", "prefix", "size"), [*writes, *records])
    marked: Test = moments(places(test))
    return marked


def failing(operation: str, prefix: str, error: HoldfastError, times: int = 1) -> Hook:
    """A hook that raises on the first `times` operations below a prefix."""
    left = [times]

    def hook(name: str, key: str) -> None:
        if name == operation and key.startswith(prefix) and left[0]:
            left[0] -= 1
            raise error

    return hook


@pytest.fixture
def faulty(folder_store: ObjectStore) -> CountingStore:
    """The folder behind a store that counts and fails."""
    return CountingStore(folder_store)


async def written(fleet: Fleet, store: CountingStore, tenant: str, data: bytes) -> Stream:
    """A stream through the faulty store that has received `data`."""
    stream = (await fleet.frontend(store)).tenant(tenant).write("ref")
    await stream.write_all(data)
    return stream


@pytest.mark.parametrize(
    ("size", "operations"),
    [
        (4096, [("get", "blobs/"), ("put", "holds/"), ("put", "blobs/")]),
        (100_000, [("get", "blobs/"), ("put", "data/"), ("put", "holds/"), ("put", "blobs/")]),
        (
            9 * MIB,
            [
                ("create_upload", "data/"),
                ("put_part", "data/"),
                ("get", "blobs/"),
                ("put_part", "data/"),
                ("complete_upload", "data/"),
                ("put", "holds/"),
                ("put", "blobs/"),
            ],
        ),
    ],
)
async def test_requests(
    folder_fleet: Fleet,
    faulty: CountingStore,
    fill: Fill,
    tenant: str,
    size: int,
    operations: list[tuple[str, str]],
) -> None:
    """A new blob that nobody asked for costs a look, its data, one hold, one record: no more."""
    stream = await written(folder_fleet, faulty, tenant, fill(size))
    await stream.send(pb.COMMIT)
    made = [(name, f"{key.split('/')[0]}/") for name, key in faulty.calls]
    # The first RPC of a tenant, and one an hour, notes that it is there.
    made.remove(("put", "tenants/"))
    assert sorted(made) == sorted(operations)
    assert made[-1] == ("put", "blobs/")


@pytest.mark.parametrize("size", [4096, 100_000, 9 * MIB])
async def test_order(
    folder_fleet: Fleet, faulty: CountingStore, fill: Fill, tenant: str, size: int
) -> None:
    """The record is written last: when it is sent, data and hold have been confirmed."""
    confirmed: list[str] = []
    seen: list[list[str]] = []
    faulty.after = lambda name, key: confirmed.append(f"{name} {key.split('/')[0]}")
    faulty.before = lambda name, key: (
        seen.append(list(confirmed)) if name == "put" and key.startswith("blobs/") else None
    )
    stream = await written(folder_fleet, faulty, tenant, fill(size))
    await stream.send(pb.COMMIT)
    (before,) = seen
    assert "put holds" in before
    assert size <= 64 * 1024 or {"put data", "complete_upload data"} & set(before)


@at_every_write
async def test_unknown_outcomes(
    folder_fleet: Fleet,
    faulty: CountingStore,
    fill: Fill,
    tenant: str,
    operation: str,
    prefix: str,
    size: int,
    moment: str,
) -> None:
    """A request or a reply that was lost once is resolved by looking; the commit succeeds."""
    data = fill(size)
    stream = await written(folder_fleet, faulty, tenant, data)
    setattr(faulty, moment, failing(operation, prefix, OutcomeUnknown("no reply")))
    reply = await stream.send(pb.COMMIT, expected=sha256(data))
    assert reply.digest == sha256(data)
    client = (await folder_fleet.frontend()).tenant(tenant)
    assert await client.read(sha256(data)) == data
    assert [info.digest for info in await client.list()] == [sha256(data)]


async def test_a_completion_is_known_by_its_parts(
    folder_fleet: Fleet, faulty: CountingStore, fill: Fill, tenant: str
) -> None:
    """Without a reply, an object of the right size but of other parts is no completion."""
    data, stranger = fill(9 * MIB), fill(9 * MIB)
    stream = await written(folder_fleet, faulty, tenant, data)
    left = [OutcomeUnknown("no reply")]

    def lose(name: str, key: str) -> None:
        if name == "complete_upload" and left:
            folder_fleet.store.put(key, stranger)
            raise left.pop()

    faulty.before = lose
    await stream.send(pb.COMMIT)
    assert await (await folder_fleet.frontend()).tenant(tenant).read(sha256(data)) == data


@at_every_write
async def test_broken_off(
    folder_fleet: Fleet,
    faulty: CountingStore,
    fill: Fill,
    tenant: str,
    operation: str,
    prefix: str,
    size: int,
    moment: str,
) -> None:
    """A frozen commit is carried to its end by whoever opens the ref next."""
    data = fill(size)
    stream = await written(folder_fleet, faulty, tenant, data)
    setattr(faulty, moment, failing(operation, prefix, Unavailable("the store is away"), 99))
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT, expected=sha256(data)))
    client = (await folder_fleet.frontend()).tenant(tenant)
    await refused(
        StatusCode.ALREADY_EXISTS,
        client.write("ref").send(pb.COMMIT, offset=size, expected=sha256(data)),
    )
    assert await client.read(sha256(data)) == data
    assert await client.statuses() == []
    assert not list(folder_fleet.store.list_uploads("data/"))


async def test_abort_finishes_a_frozen_commit(
    folder_fleet: Fleet, faulty: CountingStore, fill: Fill, tenant: str
) -> None:
    """Abort of a frozen ingest finishes it: it may have taken effect already."""
    data = fill(9 * MIB)
    stream = await written(folder_fleet, faulty, tenant, data)
    faulty.after = failing("complete_upload", "data/", Unavailable("the store is away"), 99)
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.abort("ref")
    assert await client.statuses() == []
    assert await client.read(sha256(data)) == data


async def test_lost_part_thaws(
    folder_fleet: Fleet, faulty: CountingStore, fill: Fill, tenant: str
) -> None:
    """A commit that can't be carried out is dropped: ABORTED, and the client starts over."""
    data = fill(9 * MIB)
    stream = await written(folder_fleet, faulty, tenant, data)

    def drop_upload(name: str, key: str) -> None:
        if name == "complete_upload":
            (upload,) = folder_fleet.store.list_uploads(key)
            folder_fleet.store.abort_upload(key, upload.id)

    faulty.before = drop_upload
    await refused(StatusCode.ABORTED, stream.send(pb.COMMIT))
    client = (await folder_fleet.frontend()).tenant(tenant)
    assert (await client.write("ref").send(pb.STAT)).offset == 0
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))


@pytest.mark.parametrize("idle", [False, True])
async def test_upload_gone(fleet: Fleet, fill: Fill, tenant: str, idle: bool) -> None:
    """An upload that a lifecycle rule took resets the ingest: ABORTED once, then a new start."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(30 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 9 * MIB])
    await eventually(lambda: list(fleet.store.list_uploads("data/")))
    if idle:
        await stream.half_close()
    (upload,) = fleet.store.list_uploads("data/")
    fleet.store.abort_upload(upload.key, upload.id)
    if idle:
        stream = client.write("ref")

    async def rest() -> None:
        await stream.write_all(data, start=9 * MIB)
        await stream.send(pb.COMMIT)

    await refused(StatusCode.ABORTED, rest())
    again = client.write("ref")
    assert (await again.send(pb.STAT)).offset == 0
    await again.write_all(data)
    assert (await again.send(pb.COMMIT)).digest == sha256(data)
    assert await client.read(sha256(data)) == data


async def test_tail_gone(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """An ingest whose tail is gone goes back to its last part boundary, and on from there."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(18 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 17 * MIB])
    await stream.half_close()
    for entry in list(fleet.store.list("tails/")):
        fleet.store.delete(entry.key)
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == 17 * MIB
    await refused(StatusCode.ABORTED, stream.write_all(data, start=17 * MIB))
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == 16 * MIB
    await stream.write_all(data, start=16 * MIB)
    assert (await stream.send(pb.COMMIT)).digest == sha256(data)


async def test_edited_tail(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A tail that was edited is noticed and never becomes part of a blob."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    data = fill(MIB)
    stream = client.write("ref")
    await stream.write_all(data)
    await stream.half_close()
    (entry,) = folder_fleet.store.list("tails/")
    folder_fleet.store.put(entry.key, data[:-1] + bytes([data[-1] ^ 1]))
    await refused(StatusCode.ABORTED, client.write("ref").send(pb.COMMIT))
    assert (await client.write("ref").send(pb.STAT)).offset == 0


async def test_too_old(folder_fleet: Fleet, faulty: CountingStore, fill: Fill, tenant: str) -> None:
    """An ingest older than its lifetime by the store's clock is refused, not committed."""
    data = fill(9 * MIB)
    stream = await written(folder_fleet, faulty, tenant, data)
    begun = folder_fleet.store.now()
    faulty.now = lambda: begun + 25 * 3600.0  # type: ignore[method-assign]
    assert "HOLDFAST_INGEST_LIFETIME" in await refused(StatusCode.ABORTED, stream.send(pb.COMMIT))
    client = (await folder_fleet.frontend()).tenant(tenant)
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))
    assert (await client.write("ref").send(pb.STAT)).offset == 0


async def test_two_commit_at_once(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Two tenants that commit one digest at once both succeed and both hold it."""
    one, two = await fleet.frontend(), await fleet.frontend()
    for size in (100, 100_000, 9 * MIB):
        data = fill(size)
        a, b = one.tenant(f"{tenant}-a").write("ref"), two.tenant(f"{tenant}-b").write("ref")
        await a.write_all(data)
        await b.write_all(data)
        replies = await asyncio.gather(a.send(pb.COMMIT), b.send(pb.COMMIT))
        assert {reply.digest for reply in replies} == {sha256(data)}
        for name in ("a", "b"):
            client = one.tenant(f"{tenant}-{name}")
            assert sha256(data) in {info.digest for info in await client.list()}
            assert await client.read(sha256(data)) == data
