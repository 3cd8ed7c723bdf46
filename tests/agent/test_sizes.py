"""What frontends say of a blob's size is believed only as far as its digest shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.service.agent import sizes as sizes_module
from holdfast.service.agent.sizes import Sizes
from holdfast.storage.records import BLOCK_SIZE
from tests.agent.lying import Liar, lying_frontend
from tests.agent.stage import Agent, agent_of
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256

MIB = 2**20


def honest(body: bytes) -> bytes:
    """The same bytes."""
    return body


def other_and_longer(body: bytes) -> bytes:
    """Other bytes, and more of them."""
    return bytes(len(body) + 2 * BLOCK_SIZE)


def longer(body: bytes) -> bytes:
    """The same bytes and others."""
    return body + bytes(BLOCK_SIZE)


def shorter(body: bytes) -> bytes:
    """Only the first bytes."""
    return body[: 2 * BLOCK_SIZE]


@asynccontextmanager
async def stolen(fleet: Fleet, tenant: str, body: bytes) -> AsyncIterator[tuple[Agent, Liar]]:
    """An agent that knows only a frontend that lies consistently, except in its Infos."""
    frontend = await fleet.frontend()
    await frontend.tenant(tenant).commit("ref", body)
    async with (
        lying_frontend(frontend.port, tenant, honest, consistent=True) as liar,
        agent_of([f"127.0.0.1:{liar.port}"], tenant) as agent,
    ):
        yield agent, liar


def describe_anew(agent: Agent, tenant: str, body: bytes) -> None:
    """The agent has forgotten how the blob was described: somebody got NOT_FOUND, say."""
    agent.running.parts.memory.forget(tenant, Digest.of(body))


async def test_a_small_blob_that_was_described_as_a_large_one(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """Blocks that came by another description aren't served as a blob of a single block."""
    body = fill(3 * MIB)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        liar.change = other_and_longer
        await agent.tenant.read(sha256(body), 0, MIB)
        describe_anew(agent, tenant, body)
        liar.change = honest
        assert await agent.tenant.read(sha256(body)) == body


async def test_a_large_blob_that_was_described_as_a_larger_one(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """A proof that was begun with another size says nothing of where the blob ends."""
    body = fill(9 * MIB)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        liar.change = other_and_longer
        await agent.tenant.read(sha256(body), 0, MIB)
        describe_anew(agent, tenant, body)
        liar.change = lambda content: bytes(len(content))
        await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body)))


async def test_a_proof_is_of_one_size(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A blob that was proven isn't served with more bytes, or fewer, by another description."""
    body = fill(3 * BLOCK_SIZE)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        assert await agent.tenant.read(sha256(body)) == body
        for change in (longer, shorter):
            describe_anew(agent, tenant, body)
            liar.change = change
            await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body)))


async def test_info_and_blocks_must_agree(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A reader that stops where Info says the blob ends can't be sent a longer one."""
    body = fill(9 * MIB)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        assert (await agent.tenant.info(sha256(body))).size == len(body)
        liar.change = other_and_longer
        text = await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body), 0, MIB))
        assert f"{len(body)} bytes, and then {len(body) + 2 * BLOCK_SIZE}" in text
        liar.change = honest
        assert await agent.tenant.read(sha256(body)) == body


async def test_blocks_before_info(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A description isn't used any more once Info has told another size."""
    body = fill(9 * MIB)
    async with stolen(folder_fleet, tenant, body) as (agent, liar):
        liar.change = other_and_longer
        await agent.tenant.read(sha256(body), 0, MIB)
        assert (await agent.tenant.info(sha256(body))).size == len(body)
        await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body), 0, MIB))
        liar.change = honest
        assert await agent.tenant.read(sha256(body)) == body


def test_contradictory_infos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told another size than others gets an error; the last one counts from then on."""
    monkeypatch.setattr(sizes_module, "TOLD", 2)
    sizes, first = Sizes(), Digest.of(b"1")
    sizes.tell(first, 5)
    sizes.tell(first, 5)
    for size in (4, 6):
        with pytest.raises(DataLoss):
            sizes.check(first, size)
    for size in (4, 6):
        with pytest.raises(DataLoss):
            sizes.tell(first, size)
    sizes.tell(first, 6)
    for other in (b"2", b"3"):
        sizes.tell(Digest.of(other), 1)
    sizes.check(first, 7)
