"""A large blob is read to its end only if its bytes have its digest, whatever frontends say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent import proofs as proofs_module
from holdfast.service.agent.proofs import Proofs
from holdfast.storage import blocks
from holdfast.storage.records import BLOCK_SIZE, Record, State
from tests.agent.lying import Liar, lying_frontend
from tests.agent.stage import Agent, agent_of
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256

MIB = 2**20
SIZE = 9 * MIB
KIB = 2**10
PATTERN = 0b1_0001_1110_1101_1100_0110_1111_0100_0001
"""CRC32C's polynomial: bytes that differ by it have the same checksum."""


def forged(body: bytes, at: int = 100) -> bytes:
    """Other bytes with the same CRC32C."""
    bits = f"{PATTERN:033b}".ljust(40, "0")
    mask = bytes(int(bits[start : start + 8][::-1], 2) for start in range(0, 40, 8))
    changed = bytes(one ^ two for one, two in zip(body[at : at + 5], mask, strict=True))
    return body[:at] + changed + body[at + 5 :]


def honest(body: bytes) -> bytes:
    """The same bytes."""
    return body


@asynccontextmanager
async def stolen(
    fleet: Fleet, tenant: str, body: bytes, **settings: Any
) -> AsyncIterator[tuple[Agent, Liar]]:
    """An agent that knows only a frontend that sends forged bytes, with sums that fit."""
    frontend = await fleet.frontend()
    await frontend.tenant(tenant).commit("ref", body)
    async with (
        lying_frontend(frontend.port, tenant, forged) as liar,
        agent_of([f"127.0.0.1:{liar.port}"], tenant, **settings) as agent,
    ):
        yield agent, liar


async def piecewise(agent: Agent, body: bytes, step: int) -> None:
    """Reads a blob from its beginning with one request after another, as containerd does."""
    for start in range(0, len(body), step):
        await agent.tenant.read(sha256(body), start, step)


def evict(agent: Agent) -> None:
    """Blocks that are in memory aren't any more."""
    cache = agent.running.parts.blocks._cache
    cache._blocks.clear()
    cache._size = 0


def forge_files(folder: Path) -> None:
    """All blocks on disk are forged."""
    for path in folder.glob("blocks/v1/?/*"):
        path.write_bytes(forged(path.read_bytes()))


def test_the_forgery(fill: Fill) -> None:
    """The bytes that these tests send pass every check but that of the digest."""
    body = fill(SIZE)
    assert forged(body) != body
    assert blocks.sums_of(forged(body)) == blocks.sums_of(body)


@pytest.mark.parametrize("step", [0, 64 * KIB, MIB, 4 * MIB])
async def test_forged_bytes_with_sums(
    folder_fleet: Fleet, tenant: str, fill: Fill, tmp_path: Path, step: int
) -> None:
    """The end of forged bytes isn't served, and they aren't kept: the right ones follow."""
    body = fill(SIZE)
    disk = {"disk_cache_budget": "64MiB", "disk_cache_dir": str(tmp_path / "blocks")}
    async with stolen(folder_fleet, tenant, body, **disk) as (agent, liar):
        read = piecewise(agent, body, step) if step else agent.tenant.read(sha256(body))
        text = await refused(StatusCode.DATA_LOSS, read)
        assert "don't have this digest" in text
        assert agent.counted("holdfast_agent_refuted_blobs_total") == 1
        await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body), SIZE - 1))
        liar.change = honest
        files = agent.running.parts.blocks._cache._disk
        await eventually(lambda: files is None or not files._pending)
        assert await agent.tenant.read(sha256(body)) == body
        assert await agent.tenant.read(sha256(body), SIZE - 1) == body[-1:]
        assert agent.counted("holdfast_agent_refuted_blobs_total") == 1


async def test_all_but_the_end_is_served(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A Read of forged bytes ends before the last block, so no reader takes it for complete."""
    body = fill(SIZE)
    async with stolen(folder_fleet, tenant, body) as (agent, _):
        received = 0
        request = pb.ReadContentRequest(digest=sha256(body))

        async def read() -> None:
            nonlocal received
            async for message in agent.tenant.stub.Read(request, timeout=30):
                received += len(message.data)

        await refused(StatusCode.DATA_LOSS, read())
        assert received == 2 * BLOCK_SIZE


async def test_bytes_that_are_exchanged_later(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A block of a blob that was proven can't be replaced, though its checksum fits."""
    body = fill(SIZE)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        liar.change = honest
        await piecewise(agent, body, MIB)
        evict(agent)
        liar.change = forged
        await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body), 0, 1000))
        assert agent.counted("holdfast_agent_refused_blocks_total") == 2
        liar.change = honest
        assert await agent.tenant.read(sha256(body)) == body


async def test_bytes_that_are_exchanged_on_the_way(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """If a block is loaded twice and differs, before anybody knows which is right, none is kept."""
    body = fill(SIZE)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        await agent.tenant.read(sha256(body), 0, MIB)
        evict(agent)
        liar.change = honest
        await piecewise(agent, body, MIB)
        assert agent.counted("holdfast_agent_refuted_blobs_total") == 1
        assert agent.counted("holdfast_agent_refused_blocks_total") == 1
        assert await agent.tenant.read(sha256(body)) == body


async def test_bytes_that_are_exchanged_on_disk(
    folder_fleet: Fleet, tenant: str, fill: Fill, tmp_path: Path
) -> None:
    """A file of a proven blob that was replaced isn't served, though its checksum fits."""
    body = fill(SIZE)
    disk = {"disk_cache_budget": "64MiB", "disk_cache_dir": str(tmp_path / "blocks")}
    async with stolen(folder_fleet, tenant, body, **disk) as (agent, liar):
        liar.change = honest
        await piecewise(agent, body, MIB)
        await eventually(lambda: len(list(tmp_path.glob("blocks/v1/?/*"))) == 3)
        forge_files(tmp_path)
        evict(agent)
        assert await agent.tenant.read(sha256(body)) == body


async def test_only_the_end(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """Whoever reads only a blob's end doesn't have to wait for all of it."""
    body = fill(5 * BLOCK_SIZE)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        liar.change = honest
        assert await agent.tenant.read(sha256(body), len(body) - 10) == body[-10:]
        assert liar.reads == 1


async def test_many_readers_at_once(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """Readers at different places of a large blob get right bytes, and it is hashed once."""
    body = fill(6 * BLOCK_SIZE + 7)
    async with stolen(folder_fleet, tenant, body, cache_budget=2 * BLOCK_SIZE) as (agent, liar):
        liar.change = honest

        async def read(step: int) -> None:
            for start in range(0, len(body), step):
                piece = await agent.tenant.read(sha256(body), start, step)
                assert piece == body[start : start + step]

        whole = agent.tenant.read
        found = await asyncio.gather(
            *(read(step) for step in (300 * KIB, MIB, 7 * MIB)),
            *(whole(sha256(body)) for _ in range(3)),
        )
        assert found[3:] == [body] * 3
        [proof] = agent.running.parts.blocks._proofs._known.values()
        assert proof.proven
        assert len(proof._states) == 8


def record_of(body: bytes, name: str) -> Record:
    """A blob of two blocks."""
    return Record(Digest.of(body), State.LIVE, len(body), 0, name, blocks.sums_of(body), "")


async def test_how_much_is_remembered(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many blobs, those that were read longest ago are forgotten, and aren't refuted by that."""
    monkeypatch.setattr(proofs_module, "TRACKED", 5)
    body = fill(BLOCK_SIZE + 1)
    proofs = Proofs()
    records = [record_of(body, f"data/{number}") for number in range(3)]
    first = proofs.of(records[0])
    assert first is not None
    for body_of in (body[:BLOCK_SIZE], body[BLOCK_SIZE:]):
        proofs.add(records[0], first, body_of)
    await proofs.settle(records[0], first)
    for record in records[1:]:
        proofs.of(record)
    assert len(proofs._known) == 3
    second = proofs.of(records[1])
    assert second is not None
    proofs.add(records[1], second, body[:BLOCK_SIZE])
    assert list(proofs._known) == [record.data_key for record in (records[2], records[1])]
    await proofs.check(records[0], 0, bytes(BLOCK_SIZE))
    assert proofs.refuted == 0
    assert proofs.of(records[0]) is not first


async def test_what_is_only_said_to_be_large(fill: Fill) -> None:
    """A blob that a frontend describes as huge doesn't have others' proofs forgotten."""
    proofs, body = Proofs(), fill(2 * BLOCK_SIZE)
    record = record_of(body, "data/real")
    proof = proofs.of(record)
    assert proof is not None
    proofs.add(record, proof, body[:BLOCK_SIZE])
    size = (proofs_module.TRACKED + 1) * BLOCK_SIZE
    sums = bytes((proofs_module.TRACKED + 1) * blocks.SUM_SIZE)
    proofs.of(Record(Digest.of(b""), State.LIVE, size, 0, "data/huge", sums, ""))
    assert proofs.of(record) is proof


async def test_a_wrong_last_block(fill: Fill) -> None:
    """Whichever block is wrong, the comparison finds it."""
    body = fill(2 * BLOCK_SIZE + 1)
    dropped: list[Record] = []
    for wrong in range(3):
        proofs, record = Proofs(), record_of(body, "data/x")
        proofs.forget = dropped.append
        proof = proofs.of(record)
        assert proof is not None
        for index in range(3):
            piece = body[index * BLOCK_SIZE :][:BLOCK_SIZE]
            proof.add(bytes(len(piece)) if index == wrong else piece)
        with pytest.raises(DataLoss, match="don't have this digest"):
            await proofs.settle(record, proof)
        assert proofs.suspect(record)
    assert len(dropped) == 3
