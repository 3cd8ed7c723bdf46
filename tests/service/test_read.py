"""Read, as docs/wire.md specifies it."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256
from tests.stores.counting import CountingStore

MIB = 2**20


@pytest.mark.parametrize("size", [1000, 100_000, 9 * MIB])
async def test_ranges(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """Any offset and size gives just these bytes; sizes past the end mean to the end."""
    client = (await fleet.frontend()).tenant(tenant)
    data, digest = fill(size), ""
    await client.commit("ref", data)
    digest = sha256(data)
    for offset, length in [
        (0, 0), (0, -5), (-7, 10), (1, 1), (size - 1, 1), (size - 1, 100), (size // 2, 0),
        (size // 3, size // 3), (0, size), (0, size + 1), (5, 2**62),
    ]:  # fmt: skip
        start = max(offset, 0)
        stop = size if length <= 0 else min(size, start + length)
        assert await client.read(digest, offset, length) == data[start:stop]


async def test_the_end(folder_fleet: Fleet, tenant: str) -> None:
    """An offset at the end is an empty stream, past it OUT_OF_RANGE."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello")
    assert await client.read(sha256(b"hello"), 5) == b""
    text = await refused(StatusCode.OUT_OF_RANGE, client.read(sha256(b"hello"), 6))
    assert "6" in text
    assert "5" in text


async def test_reading_needs_no_hold(folder_fleet: Fleet, tenant: str) -> None:
    """Under `shared`, Read needs no hold and makes none."""
    frontend = await folder_fleet.frontend()
    await frontend.tenant(f"{tenant}-a").commit("ref", b"hello")
    other = frontend.tenant(f"{tenant}-b")
    assert await other.read(sha256(b"hello")) == b"hello"
    assert await other.list() == []


@pytest.mark.parametrize("damage", ["edited", "truncated", "longer"])
async def test_damaged_data(fleet: Fleet, fill: Fill, tenant: str, damage: str) -> None:
    """An edited or truncated object is DATA_LOSS, never wrong bytes."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(9 * MIB)
    await client.commit("ref", data)
    (entry,) = fleet.store.list("data/")
    body = bytearray(fleet.store.get(entry.key).body)
    if damage == "edited":
        body[5 * MIB] ^= 1
    elif damage == "truncated":
        del body[-1:]
    fleet.store.put(entry.key, bytes(body))
    if damage == "longer":
        fleet.store.put(entry.key, bytes(body + b"x"))
        assert await client.read(sha256(data)) == data
        return
    text = await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))
    assert sha256(data) in text
    # Its record is marked by then: none of it is read until it is healed.
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data), 0, 4 * MIB))


async def test_moved_data(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A reader whose data key has gone reads the record again and goes on with the new one."""
    one, two = await folder_fleet.frontend(), await folder_fleet.frontend()
    data = fill(9 * MIB)
    await one.tenant(tenant).commit("ref", data)
    assert await two.tenant(tenant).read(sha256(data), 0, 10) == data[:10]
    (entry,) = folder_fleet.store.list("data/")
    folder_fleet.store.delete(entry.key)
    await one.tenant(f"{tenant}-b").commit("ref", data)
    assert await two.tenant(tenant).read(sha256(data), 4 * MIB) == data[4 * MIB :]


async def test_a_client_that_goes_away(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A client that goes away in mid-Read ends the fetching."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    data = fill(30 * MIB)
    await client.commit("ref", data)
    call = client.stub.Read(pb.ReadContentRequest(digest=sha256(data)), metadata=client.metadata)
    first = await call.read()
    assert isinstance(first, pb.ReadContentResponse)
    assert first.data == data[:MIB]
    call.cancel()
    under_way = frontend.running.frontend.metrics.registry
    await eventually(
        lambda: under_way.get_sample_value("holdfast_rpcs_under_way", {"rpc": "Read"}) == 0
    )


async def test_blocks_are_fetched_once(
    folder_store: ObjectStore, folder_fleet: Fleet, fill: Fill, tenant: str
) -> None:
    """However many read a blob at once, cold, each of its bytes is fetched once."""
    data = fill(20 * MIB)
    await (await folder_fleet.frontend()).tenant(tenant).commit("ref", data)
    counting = CountingStore(folder_store)
    client = (await folder_fleet.frontend(counting)).tenant(tenant)
    bodies = await asyncio.gather(*(client.read(sha256(data)) for _ in range(16)))
    assert all(body == data for body in bodies)
    assert counting.fetched("data/") == len(data)


async def test_small_sequential_reads(
    folder_store: ObjectStore, folder_fleet: Fleet, fill: Fill, tenant: str
) -> None:
    """Containerd's unpack, one Read per 32 KiB, fetches each block once."""
    data = fill(9 * MIB)
    await (await folder_fleet.frontend()).tenant(tenant).commit("ref", data)
    counting = CountingStore(folder_store)
    client = (await folder_fleet.frontend(counting)).tenant(tenant)
    step = 32 * 1024
    for offset in range(0, len(data), step):
        assert await client.read(sha256(data), offset, step) == data[offset : offset + step]
    assert counting.fetched("data/") == len(data)


async def test_cache_budget(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """The block cache keeps to its budget."""
    frontend = await folder_fleet.frontend(cache_budget=8 * MIB)
    client = frontend.tenant(tenant)
    data = fill(40 * MIB)
    await client.commit("ref", data)
    assert await client.read(sha256(data)) == data
    assert frontend.counted("holdfast_cache_bytes") <= 8 * MIB
