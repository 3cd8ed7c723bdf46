"""The bound on the bytes of what a tenant has begun: counted where they become durable."""

from __future__ import annotations

import grpc
import pytest
from grpc import StatusCode

from holdfast.coordination.connection import open_client
from holdfast.coordination.ingests import FULL_PAUSE
from holdfast.coordination.keys import Keys
from holdfast.protos import content_pb2 as pb
from holdfast.service.settings import Settings
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Stream, Tenant, eventually, refused, sha256
from tests.service.test_quotas import free, pushback

MIB = 2**20
PART = 8 * MIB
FULL = StatusCode.RESOURCE_EXHAUSTED


async def counted(fleet: Fleet, tenant: str) -> int:
    """The bytes that Redis counts in the tenant's ingests."""
    client = open_client(fleet.redis_url)
    try:
        return int(await client.get(Keys(tenant).open_bytes) or 0)
    finally:
        await client.aclose()


async def left(client: Tenant, ref: str, data: bytes) -> None:
    """Leaves an ingest with these bytes."""
    stream = client.write(ref)
    await stream.write_all(data)
    await stream.half_close()
    await eventually(lambda: free(client, ref))


async def test_left_ingests(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """What streams leave counts, parts and tails; at the bound no ref is begun, and none grows."""
    client = (await folder_fleet.frontend(tenant_ingest_bytes=PART + 3 * MIB)).tenant(tenant)
    data, tail = fill(PART + MIB), fill(2 * MIB)
    await left(client, "parts", data)
    await left(client, "tail", tail)
    assert await counted(folder_fleet, tenant) == PART + 3 * MIB
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.write("more").send(pb.STAT)
    assert (caught.value.code(), pushback(caught.value)) == (FULL, FULL_PAUSE)
    assert f"tenant {tenant} has {PART + 3 * MIB} bytes" in str(caught.value.details())
    grows = client.write("tail")
    await refused(FULL, grows.send(pb.WRITE, offset=len(tail), data=b"x"))
    await eventually(lambda: free(client, "tail"))
    assert (await client.status("tail")).offset == len(tail), "the bytes are kept"


async def test_what_makes_room(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """At the bound, COMMIT, Abort and beginning anew work as ever, and each makes room."""
    one = await folder_fleet.frontend(tenant_ingest_bytes=5 * MIB)
    client, data = one.tenant(tenant), fill(2 * MIB)
    for ref in ("committed", "aborted"):
        await left(client, ref, data)
    await left(client, "anew", data[:MIB])
    await refused(FULL, client.write("more").send(pb.STAT))
    stream = client.write("committed")
    await stream.send(pb.COMMIT, expected=sha256(data), total=len(data))
    assert await counted(folder_fleet, tenant) == 3 * MIB
    await client.abort("aborted")
    assert await counted(folder_fleet, tenant) == MIB
    again = client.write("anew")
    await again.send(pb.WRITE, offset=0, data=b"x")
    assert await counted(folder_fleet, tenant) == 0
    await client.abort("anew")
    assert (await client.info(sha256(data))).size == len(data)


async def test_a_declared_total(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A total that can't fit is refused in answer to the message that declares it."""
    client = (await folder_fleet.frontend(tenant_ingest_bytes=5 * MIB)).tenant(tenant)
    await left(client, "other", fill(2 * MIB))
    await refused(FULL, client.write("ref").send(pb.STAT, total=3 * MIB + 1))
    await client.commit("fits", fill(3 * MIB))


@pytest.mark.parametrize("size", [PART // 8, 30_000])
async def test_streams_at_once(folder_fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """Streams that run learn of each other with their checkpoints, however small their WRITEs."""
    one, two = [await folder_fleet.frontend(tenant_ingest_bytes=3 * PART) for _ in range(2)]
    first, second = one.tenant(tenant).write("a"), two.tenant(tenant).write("b")
    data = fill(3 * PART)
    await first.write_all(data[: PART + size], size=size)
    await second.write_all(data[: PART + size], size=size)
    await eventually(lambda: reached(folder_fleet, tenant, 2 * PART))
    # Its next part is the third; the one after that doesn't fit any more.
    sent = await until_refused(first, data, start=PART + size, size=size)
    limits = Settings()
    assert 2 * PART <= sent <= 2 * PART + (limits.parts_in_flight + 1) * PART
    await two.stop()


async def reached(fleet: Fleet, tenant: str, most: int) -> bool:
    """Whether so many bytes are counted."""
    return await counted(fleet, tenant) >= most


async def until_refused(stream: Stream, data: bytes, *, start: int, size: int) -> int:
    """Writes until a bound is reached; returns the bytes that were taken."""
    offset = start
    for _ in range(100 * PART // size):
        piece = data[offset % PART : offset % PART + size]
        try:
            await stream.send(pb.WRITE, offset=offset, data=piece)
        except grpc.aio.AioRpcError as error:
            if error.code() is not FULL:
                raise
            return offset
        offset += len(piece)
    raise AssertionError("no bound was reached")
