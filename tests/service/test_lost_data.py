"""Data that is gone, or bad, by the time of its record: the client starts over, nobody loses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.coordination.keys import Keys
from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.folder import FolderStore
from holdfast.storage.own_data import SIGHT_LASTS
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Stream, Tenant, eventually, refused, sha256
from tests.stores.counting import CountingStore, nothing

MIB = 2**20
Left = Callable[[Tenant, bytes], Awaitable[Stream]]


@pytest.fixture
def store(folder_store: ObjectStore) -> CountingStore:
    """A folder that counts."""
    return CountingStore(folder_store)


def passes(frontend: Frontend, seconds: float) -> None:
    """Lets time pass by the clock that a frontend's sights of data count by."""
    commits = frontend.running.frontend.commits
    blobs, completion = commits._blobs._blobs, commits._completion
    clock = blobs.clock
    blobs.clock = completion._clock = lambda: clock() + seconds


async def put_early(client: Tenant, data: bytes) -> Stream:
    """All bytes are stored as one object, because the declared total is reached."""
    stream = client.write("ref")
    await stream.send(pb.STAT, total=len(data))
    await stream.write_all(data)
    return stream


async def sealed(client: Tenant, data: bytes) -> Stream:
    """The upload is completed, because a COMMIT asked for another algorithm."""
    stream = client.write("ref")
    await stream.write_all(data)
    wrong = "sha512:" + "0" * 128
    await refused(StatusCode.FAILED_PRECONDITION, stream.send(pb.COMMIT, expected=wrong))
    again = client.write("ref")
    await again.send(pb.STAT)
    return again


LEFT = [pytest.param(put_early, 100_000, id="early"), pytest.param(sealed, 9 * MIB, id="sealed")]


async def take(store: ObjectStore) -> None:
    """Removes all data objects, as a collector does whose clock is days ahead."""
    await eventually(lambda: list(store.list("data/")))
    for entry in list(store.list("data/")):
        store.delete(entry.key)


@pytest.mark.parametrize(("leave", "size"), LEFT)
async def test_taken(
    folder_fleet: Fleet, store: CountingStore, tenant: str, fill: Fill, leave: Left, size: int
) -> None:
    """A COMMIT whose data was taken since is ABORTED, and the bytes are sent again."""
    data, frontend = fill(size), await folder_fleet.frontend(store)
    client = frontend.tenant(tenant)
    stream = await leave(client, data)
    await take(folder_fleet.store)
    passes(frontend, SIGHT_LASTS + 1)
    await refused(StatusCode.ABORTED, stream.send(pb.COMMIT, expected=sha256(data)))
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))
    again = client.write("ref")
    assert (await again.send(pb.STAT)).offset == 0
    await again.write_all(data)
    await again.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data


@pytest.mark.parametrize(("leave", "size"), LEFT)
async def test_there(
    folder_fleet: Fleet, store: CountingStore, tenant: str, fill: Fill, leave: Left, size: int
) -> None:
    """A COMMIT long after its data was stored looks at it once, and succeeds."""
    data, frontend = fill(size), await folder_fleet.frontend(store)
    client = frontend.tenant(tenant)
    stream = await leave(client, data)
    await eventually(lambda: list(folder_fleet.store.list("data/")))
    passes(frontend, SIGHT_LASTS + 1)
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert store.operations("data/").count("head") == 1
    assert await client.read(sha256(data)) == data


async def test_just_stored(
    folder_fleet: Fleet, store: CountingStore, tenant: str, fill: Fill
) -> None:
    """A COMMIT right after its data was stored doesn't look at it."""
    client = (await folder_fleet.frontend(store)).tenant(tenant)
    await (await put_early(client, fill(100_000))).send(pb.COMMIT)
    assert "head" not in store.operations("data/")


async def test_other_bytes_of_the_same_size(
    folder_fleet: Fleet, store: CountingStore, tenant: str, fill: Fill
) -> None:
    """A re-driven commit whose object has another ETag than was frozen is dropped."""
    data = fill(100_000)
    client = (await folder_fleet.frontend(store)).tenant(tenant)
    stream = await put_early(client, data)

    def away(operation: str, key: str) -> None:
        if operation == "put" and key.startswith("blobs/"):
            raise Unavailable("the store is away")

    store.before = away
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    (entry,) = folder_fleet.store.list("data/")
    folder_fleet.store.put(entry.key, data[::-1])
    other = (await folder_fleet.frontend()).tenant(tenant)
    assert (await other.write("ref").send(pb.STAT)).offset == 0
    await refused(StatusCode.NOT_FOUND, other.info(sha256(data)))


async def frozen(client: Tenant, store: CountingStore, data: bytes, operation: str) -> None:
    """A COMMIT that is frozen and broke off, because the store was away."""
    stream = client.write("ref")
    await stream.send(pb.STAT, total=len(data))
    await stream.write_all(data)

    def away(name: str, key: str) -> None:
        if name == operation and key.startswith(("blobs/", "data/")):
            raise Unavailable("the store is away")

    await eventually(lambda: set(store.operations("data/")) & {"put", "put_part"})
    store.before = away
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    store.before = nothing


def files_of(store: ObjectStore, pattern: str) -> list[Path]:
    """Files of a folder store that a disk may have torn."""
    assert isinstance(store, FolderStore)
    return sorted(store._root.glob(pattern))


TORN = [
    pytest.param(100_000, "put", "objects/data/*", id="one object"),
    pytest.param(9 * MIB, "put", "objects/data/*~parts/manifest.json", id="a completed upload"),
    pytest.param(9 * MIB, "complete_upload", "uploads/*/meta.json", id="an upload"),
]


@pytest.mark.parametrize("ends", ["open", "abort"])
@pytest.mark.parametrize(("size", "operation", "pattern"), TORN)
async def test_torn(
    folder_fleet: Fleet,
    store: CountingStore,
    tenant: str,
    fill: Fill,
    size: int,
    operation: str,
    pattern: str,
    ends: str,
) -> None:
    """A frozen commit whose bytes a disk has torn is dropped by the next open, or by Abort."""
    data = fill(size)
    client = (await folder_fleet.frontend(store)).tenant(tenant)
    await frozen(client, store, data, operation)
    (file,) = files_of(folder_fleet.store, pattern)
    file.write_bytes(b"hol")
    if ends == "abort":
        await client.abort("ref")
        assert await client.statuses() == []
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == 0
    await stream.write_all(data)
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data


async def test_a_torn_upload_that_is_open(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """An upload that a disk has torn while parts come resets the ingest, and is aborted."""
    data, store = fill(17 * MIB), folder_fleet.store
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.write_all(data[: 9 * MIB])
    await eventually(lambda: files_of(store, "uploads/*/00001-*"))
    (file,) = files_of(store, "uploads/*/meta.json")
    file.write_bytes(b"{")

    async def rest() -> None:
        await stream.write_all(data, start=9 * MIB)
        await stream.send(pb.COMMIT)

    await refused(StatusCode.ABORTED, rest())
    again = client.write("ref")
    assert (await again.send(pb.STAT)).offset == 0
    await again.write_all(data)
    await again.send(pb.COMMIT, expected=sha256(data))


@pytest.mark.parametrize("damage", ["{", "[" * 100_000], ids=["no JSON", "too deep"])
@pytest.mark.parametrize("ends", ["open", "abort"])
async def test_a_damaged_commit_in_redis(
    folder_fleet: Fleet, store: CountingStore, tenant: str, fill: Fill, ends: str, damage: str
) -> None:
    """A frozen commit that can't be read any more is dropped by the next open, or by Abort."""
    frontend = await folder_fleet.frontend(store)
    client = frontend.tenant(tenant)
    await frozen(client, store, fill(100_000), "put")
    redis: Any = frontend.running.redis
    await redis.hset(Keys(tenant).ingest("ref"), "frozen", damage)
    if ends == "abort":
        await client.abort("ref")
    else:
        assert (await client.write("ref").send(pb.STAT)).offset == 0
    assert [status.offset for status in await client.statuses()] in ([], [0])
