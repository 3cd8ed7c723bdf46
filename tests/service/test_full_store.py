"""A store that is full: every write of it is refused, and nothing is lost by that."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.errors import HoldfastError, PermissionDenied, ResourceExhausted, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Stream, Tenant, eventually, refused, sha256
from tests.stores.counting import CountingStore, nothing

MIB = 2**20
WRITES = frozenset({"put", "put_part", "create_upload", "complete_upload"})


def full(operation: str, key: str) -> None:
    """A hook that lets nothing be written."""
    if operation in WRITES:
        raise ResourceExhausted(f"{key}: the disk is full")


@pytest.fixture
def store(folder_store: ObjectStore) -> CountingStore:
    """A folder that can be filled up."""
    return CountingStore(folder_store)


@pytest.fixture
async def client(folder_fleet: Fleet, store: CountingStore, tenant: str) -> Tenant:
    """A tenant of a frontend on that store."""
    return (await folder_fleet.frontend(store)).tenant(tenant)


async def commit(client: Tenant, data: bytes, total: int) -> None:
    """Writes under one ref from where it stands, and commits."""
    stream = client.write("ref")
    offset = (await stream.send(pb.STAT, total=total)).offset
    await stream.write_all(data, start=offset)
    await stream.send(pb.COMMIT, expected=sha256(data), offset=len(data))


async def finish(client: Tenant, data: bytes, total: int) -> None:
    """Carries on after a refusal, as a client does: it may have been committed by then."""
    try:
        await commit(client, data, total)
    except grpc.aio.AioRpcError as error:
        if error.code() is not StatusCode.ALREADY_EXISTS:
            raise


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("prefix", ["data/", "holds/", "blobs/", ""])
@pytest.mark.parametrize("size", [100, 100_000, 9 * MIB])
async def test_commit(
    client: Tenant, store: CountingStore, fill: Fill, size: int, prefix: str, *, declared: bool
) -> None:
    """Whatever can't be written for a commit, the client carries on when there is room again."""
    data, total = fill(size), size if declared else 0

    def refuse(operation: str, key: str) -> None:
        if key.startswith(prefix):
            full(operation, key)

    store.before = refuse
    if prefix == "data/" and size == 100:
        await commit(client, data, total)  # it is in its record
    else:
        await refused(StatusCode.RESOURCE_EXHAUSTED, commit(client, data, total))
    store.before = nothing
    await finish(client, data, total)
    assert await client.read(sha256(data)) == data
    assert await client.statuses() == []


@pytest.mark.parametrize("declared", [True, False])
async def test_what_was_durable_is_kept(
    client: Tenant, store: CountingStore, fill: Fill, *, declared: bool
) -> None:
    """Bytes that were stored before aren't sent again, when there is room again."""
    data = fill(3 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 2 * MIB])
    await stream.half_close()
    store.before = full

    async def rest(stream: Stream) -> None:
        await stream.send(pb.STAT, total=len(data) if declared else 0)
        await stream.write_all(data, start=2 * MIB)
        await stream.send(pb.COMMIT)

    await refused(StatusCode.RESOURCE_EXHAUSTED, rest(client.write("ref")))
    store.before = nothing
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == 2 * MIB
    await stream.write_all(data, start=2 * MIB)
    assert (await stream.send(pb.COMMIT)).digest == sha256(data)


async def test_parts_are_kept(client: Tenant, store: CountingStore, fill: Fill) -> None:
    """The parts that were stored are kept, and a client goes on after them."""
    data = fill(20 * MIB)
    stream = client.write("ref")
    await stream.write_all(data[: 8 * MIB])
    await eventually(lambda: "put_part" in store.operations())
    await stream.half_close()
    store.before = full
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == 8 * MIB

    async def rest() -> None:
        await stream.write_all(data, start=8 * MIB)
        await stream.send(pb.COMMIT)

    await refused(StatusCode.RESOURCE_EXHAUSTED, rest())
    store.before = nothing
    stream = client.write("ref")
    offset = (await stream.send(pb.STAT)).offset
    assert offset >= 8 * MIB
    await stream.write_all(data, start=offset)
    assert (await stream.send(pb.COMMIT)).digest == sha256(data)
    assert await client.read(sha256(data)) == data


async def test_no_room_for_the_tail(client: Tenant, store: CountingStore, fill: Fill) -> None:
    """Where even the tail can't be stored, the ingest is kept up to its last part."""
    data = fill(9 * MIB)
    stream = client.write("ref")
    await stream.write_all(data)
    store.before = lambda operation, key: full(operation, key) if key.startswith("tails/") else None
    await stream.half_close()
    store.before = nothing
    stream = client.write("ref")
    assert (await stream.send(pb.STAT)).offset == 8 * MIB
    await stream.write_all(data, start=8 * MIB)
    assert (await stream.send(pb.COMMIT)).digest == sha256(data)


async def test_delete(client: Tenant, store: CountingStore, fill: Fill) -> None:
    """A Delete whose mark doesn't fit is refused and changes nothing; later it works."""
    data = fill(100)
    await client.commit("ref", data)
    store.before = full
    assert "full" in await refused(StatusCode.RESOURCE_EXHAUSTED, client.delete(sha256(data)))
    assert (await client.info(sha256(data))).size == 100
    assert [info.digest for info in await client.list()] == [sha256(data)]
    store.before = nothing
    await client.delete(sha256(data))
    assert await client.list() == []


async def test_reading_goes_on(client: Tenant, store: CountingStore, fill: Fill) -> None:
    """What is held is read, listed and found on a full store; what isn't there needs no Delete."""
    data = fill(9 * MIB)
    await client.commit("ref", data)
    store.before = full
    assert await client.read(sha256(data)) == data
    await client.delete(sha256(b"unknown"))
    await client.abort("unknown")


@pytest.mark.parametrize("sharing", ["shared", "isolated"])
@pytest.mark.parametrize("error", [ResourceExhausted, PermissionDenied, Unavailable])
async def test_reading_begins(
    client: Tenant,
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    tenant: str,
    error: type[HoldfastError],
    sharing: str,
) -> None:
    """A frontend started on a store that takes no writes finds, lists and reads what is held."""
    data = b"x" * 100
    await client.commit("ref", data)
    readable = CountingStore(folder_store)

    def refuse(operation: str, key: str) -> None:
        if operation in WRITES:
            raise error(f"{key} can't be written")

    readable.before = refuse
    frontend = await folder_fleet.frontend(readable, sharing=sharing)
    fresh = frontend.tenant(tenant)
    assert (await fresh.info(sha256(data))).size == 100
    assert [info.digest for info in await fresh.list()] == [sha256(data)]
    assert await fresh.read(sha256(data)) == data
    await refused(StatusCode.NOT_FOUND, fresh.info(sha256(b"unknown")))
    # What failed once isn't tried before each answer.
    assert readable.operations("tenants/").count("put") == 1


async def test_nothing_is_promised_to_who_is_missed(
    client: Tenant, folder_fleet: Fleet, store: CountingStore, tenant: str
) -> None:
    """A tenant that may be dropped is told nothing by a frontend that can't note it."""
    await client.commit("ref", b"x" * 100)
    sightings = Sightings(folder_fleet.store, new_nonce)
    assert sightings.miss(tenant, sightings.token(tenant), None)
    store.before = full
    fresh = (await folder_fleet.frontend(store)).tenant(tenant)
    await refused(StatusCode.RESOURCE_EXHAUSTED, fresh.info(sha256(b"x" * 100)))
    assert await fresh.read(sha256(b"x" * 100)) == b"x" * 100
    store.before = nothing
    assert (await fresh.info(sha256(b"x" * 100))).size == 100


async def test_abort_frees(
    client: Tenant, folder_fleet: Fleet, store: CountingStore, fill: Fill
) -> None:
    """Abort gives back what an ingest has stored, however full the store is."""
    stream = client.write("ref")
    await stream.write_all(fill(17 * MIB))
    await stream.half_close()
    store.before = full
    await client.abort("ref")

    def left() -> list[Any]:
        held = folder_fleet.store
        return [*held.list_uploads("data/"), *held.list("tails/")]

    await eventually(lambda: not left())
