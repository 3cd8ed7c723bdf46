"""Blocks are fetched from frontends that break off, are older, or know their clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast.digests import Digest
from holdfast.errors import DataLoss, NotFound, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from holdfast.service.agent import block_source
from holdfast.service.agent.block_source import BlockSource
from holdfast.service.agent.described import DescribedBlob
from holdfast.service.agent.memory import NodeMemory
from holdfast.service.agent.outcomes import FrontendLost
from holdfast.service.agent.reads import TenantBlobs
from holdfast.service.reading.block_cache import BlockCache
from holdfast.storage import blocks
from holdfast.storage.records import BLOCK_SIZE
from holdfast.transport.status import Code, Metadata, Status
from tests.agent.scripted import Replies, Scripted, upstreams_of
from tests.service.conftest import Fill
from tests.service.fleet import eventually

MIB = 2**20
HEADER = "tenant"


def described(body: bytes, tenant: str = "first") -> DescribedBlob:
    """A blob as a frontend describes it."""
    answer = fleet_pb2.BlocksResponse(size=len(body), sums=blocks.sums_of(body))
    return DescribedBlob.of(tenant, Digest.of(body), answer)


def source_of(frontend: Scripted) -> BlockSource:
    """Where a cache gets blocks from."""
    return BlockSource(upstreams_of([frontend], HEADER), 5.0, lambda: None)


def serving(body: bytes) -> Replies:
    """A frontend that has a blob, as ours answers: a size of 0 means all that there is."""

    async def replies(raw: bytes, _: Metadata) -> AsyncIterator[bytes]:
        request = pb.ReadContentRequest.FromString(raw)
        stop = request.offset + request.size if request.size else len(body)
        for start in range(request.offset, stop, MIB):
            yield pb.ReadContentResponse(
                data=body[start : min(stop, start + MIB)]
            ).SerializeToString()

    return replies


@pytest.mark.parametrize(
    "end", [FrontendLost("lost"), Status(Code.UNAVAILABLE, "the frontend is draining")]
)
async def test_only_the_status_is_lost(fill: Fill, end: Exception) -> None:
    """A block of which all bytes have come isn't fetched again because its end is lost."""
    body = fill(3 * BLOCK_SIZE)
    serve = serving(body)

    async def replies(raw: bytes, metadata: Metadata) -> AsyncIterator[bytes]:
        async for message in serve(raw, metadata):
            yield message
        raise end

    frontend = Scripted(replies)
    assert await source_of(frontend).block(described(body), 1) == body[BLOCK_SIZE : 2 * BLOCK_SIZE]
    assert len(frontend.asked) == 1
    assert not frontend.distrusted


@pytest.mark.parametrize("sent", [b"", b"x"])
async def test_next_to_nothing(fill: Fill, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A frontend that sends a byte now and then, or none, keeps no block from its readers."""
    monkeypatch.setattr(block_source, "SILENCE", 0.05)
    monkeypatch.setattr(block_source, "SLOWEST", 2**40)
    body = sent + fill(BLOCK_SIZE - len(sent))
    left = [sent]

    async def trickle(_raw: bytes, _: Metadata) -> AsyncIterator[bytes]:
        while True:
            data = left.pop() if left else b""
            yield pb.ReadContentResponse(data=data).SerializeToString()
            await asyncio.sleep(0)

    slow = Scripted(trickle)
    fetching = asyncio.ensure_future(source_of(slow).block(described(body), 0))
    await eventually(lambda: slow.distrusted)
    slow.replies = serving(body)
    assert await fetching == body
    last = pb.ReadContentRequest.FromString(slow.asked[-1])
    assert (last.offset, last.size) == (len(sent), BLOCK_SIZE - len(sent))


async def test_more_than_was_asked_for(fill: Fill) -> None:
    """A frontend that sends on and on isn't listened to beyond the block's last byte."""
    body, sent = fill(BLOCK_SIZE), 0

    async def replies(_: bytes, __: Metadata) -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield pb.ReadContentResponse(data=body[:MIB]).SerializeToString()

    frontend = Scripted(replies)
    with pytest.raises(DataLoss):
        await source_of(frontend).block(described(body), 0)
    assert sent == 2 * (BLOCK_SIZE // MIB + 1)
    assert frontend.distrusted == 1  # so that the second reading is from another one


async def test_nothing_but_empty_messages(fill: Fill) -> None:
    """Frontends that break off without a byte are given up in time, whatever else they send."""
    body = fill(BLOCK_SIZE)

    async def replies(_: bytes, __: Metadata) -> AsyncIterator[bytes]:
        yield pb.ReadContentResponse().SerializeToString()
        raise FrontendLost("lost")

    with pytest.raises(Unavailable):
        await source_of(Scripted(replies)).block(described(body), 0)


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.PERMISSION_DENIED])
async def test_others_rights(fill: Fill, code: Code) -> None:
    """A tenant that waits for a block that another tenant may not read gets it all the same."""
    body, asked = fill(2 * BLOCK_SIZE), asyncio.Event()
    serve = serving(body)

    async def replies(raw: bytes, metadata: Metadata) -> AsyncIterator[bytes]:
        if (HEADER, "first") in metadata:
            await asked.wait()
            raise Status(code, "not for you")
        async for message in serve(raw, metadata):
            yield message

    frontend = Scripted(replies)
    cache = BlockCache(source_of(frontend), 4 * BLOCK_SIZE, 8)
    waiting = [
        asyncio.ensure_future(cache.get(described(body, tenant), 0))
        for tenant in ("first", "first", "second", "second")
    ]
    await eventually(lambda: frontend.asked)
    asked.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found[:2]] == [type(found[0])] * 2
    assert not isinstance(found[0], bytes)
    assert found[2:] == [body[:BLOCK_SIZE]] * 2
    assert len(frontend.asked) == 2
    if code is Code.NOT_FOUND:
        assert isinstance(found[0], NotFound)


async def test_older_frontends(fill: Fill) -> None:
    """While a fleet is upgraded, its newer frontends say how a blob is made; at the end all do."""
    body = fill(BLOCK_SIZE + 1)

    async def old(_: bytes, __: Metadata) -> AsyncIterator[bytes]:
        raise Status(Code.UNIMPLEMENTED, "no such RPC")
        yield b""

    async def new(_: bytes, __: Metadata) -> AsyncIterator[bytes]:
        sums = blocks.sums_of(body)
        yield fleet_pb2.BlocksResponse(size=len(body), sums=sums).SerializeToString()

    for _ in range(8):
        mixed = upstreams_of([Scripted(old), Scripted(old), Scripted(new)])
        found = await TenantBlobs(NodeMemory(), mixed, "tenant", 5.0).get(Digest.of(body))
        assert found is not None
        assert found.size == len(body)
    frontends = [Scripted(old), Scripted(old)]
    blobs = TenantBlobs(NodeMemory(), upstreams_of(frontends), "tenant", 5.0)
    with pytest.raises(Unavailable, match="upgrade frontends first"):
        await blobs.get(Digest.of(body))
    assert sum(len(one.asked) for one in frontends) == 2
