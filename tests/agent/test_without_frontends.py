"""An agent without frontends serves what it has, and refuses the rest in bounded time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.agent.stage import agent_of
from tests.servers.process import free_port
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256

MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> dict[str, Any]:
    """Settings of an agent with a disk cache."""
    return {"disk_cache_budget": "64MiB", "disk_cache_dir": str(tmp_path / "blocks")}


@pytest.mark.parametrize("size", [100, 100 * 1024, 9 * MIB])
async def test_what_the_disk_has(
    folder_fleet: Fleet, tenant: str, fill: Fill, tmp_path: Path, disk: dict[str, Any], size: int
) -> None:
    """An agent that starts without a network answers Infos and Reads of what an earlier one had."""
    frontend, body = await folder_fleet.frontend(), fill(size)
    await frontend.tenant(tenant).commit("ref", body, labels={"a": "b"})
    digest = sha256(body)
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant, **disk) as agent:
        info = await agent.tenant.info(digest)
        assert await agent.tenant.read(digest) == body
        blocks = -(-size // (4 * MIB)) if size > 64 * 1024 else 0
        await eventually(lambda: len(list(tmp_path.glob("blocks/v1/?/*"))) == blocks)
    async with agent_of([f"127.0.0.1:{free_port()}"], tenant, **disk) as agent:
        assert await agent.tenant.info(digest) == info
        assert await agent.tenant.read(digest) == body
        assert await agent.tenant.read(digest, size - 1) == body[-1:]


async def test_what_it_lacks(
    folder_fleet: Fleet, tenant: str, fill: Fill, disk: dict[str, Any]
) -> None:
    """All that would need a frontend is UNAVAILABLE, and none of it is waited for any longer."""
    frontend, body = await folder_fleet.frontend(), fill(9 * MIB)
    await frontend.tenant(tenant).commit("ref", body)
    digest, other = sha256(body), sha256(b"other")
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant, **disk) as agent:
        await agent.tenant.info(digest)
    async with agent_of([f"127.0.0.1:{free_port()}"], tenant, **disk) as agent:
        node = agent.tenant
        node.deadline = 8.0  # longer than the agent's patience
        await refused(StatusCode.UNAVAILABLE, node.info(other))
        assert agent.running.parts.upstreams.away
        node.deadline = 1.0
        await refused(StatusCode.UNAVAILABLE, node.info(other))
        await refused(StatusCode.UNAVAILABLE, node.read(digest))
        await refused(StatusCode.UNAVAILABLE, node.list())
        await refused(StatusCode.UNAVAILABLE, node.delete(digest))
        await refused(StatusCode.UNAVAILABLE, node.update(digest, {"a": "b"}))
        await refused(StatusCode.UNAVAILABLE, node.abort("ref"))
        await refused(StatusCode.UNAVAILABLE, node.write("ref").send(pb.STAT))


async def test_a_delete_is_remembered(
    folder_fleet: Fleet, tenant: str, fill: Fill, disk: dict[str, Any]
) -> None:
    """What a node has deleted isn't answered from memory, even if the Delete had no answer."""
    frontend, first, second = await folder_fleet.frontend(), fill(100), fill(100)
    for body in (first, second):
        await frontend.tenant(tenant).commit("ref", body)
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant, **disk) as agent:
        for body in (first, second):
            await agent.tenant.info(sha256(body))
        await agent.tenant.delete(sha256(first))
        await frontend.stop()
        agent.tenant.deadline = 8.0
        await refused(StatusCode.UNAVAILABLE, agent.tenant.delete(sha256(second)))
        for body in (first, second):
            await refused(StatusCode.UNAVAILABLE, agent.tenant.info(sha256(body)))
    async with agent_of([f"127.0.0.1:{free_port()}"], tenant, **disk) as agent:
        for body in (first, second):
            await refused(StatusCode.UNAVAILABLE, agent.tenant.info(sha256(body)))


async def test_labels_are_the_last_ones(
    folder_fleet: Fleet, tenant: str, fill: Fill, disk: dict[str, Any]
) -> None:
    """What an Update has answered is what an Info repeats without a frontend."""
    frontend, body = await folder_fleet.frontend(), fill(100)
    await frontend.tenant(tenant).commit("ref", body, labels={"a": "b"})
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant, **disk) as agent:
        await agent.tenant.info(sha256(body))
        updated = await agent.tenant.update(sha256(body), {"a": "c"}, "labels.a")
        await frontend.stop()
        assert await agent.tenant.info(sha256(body)) == updated
