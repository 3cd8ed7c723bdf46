"""Bytes that weren't committed never reach a client, whoever sends them and however."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.service.agent.block_source import READINGS
from tests.agent.lying import lying_frontend
from tests.agent.stage import agent_of
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256

MIB = 2**20


def flip(body: bytes) -> bytes:
    """Another first byte."""
    return bytes([body[0] ^ 1]) + body[1:] if body else body


def cut(body: bytes) -> bytes:
    """One byte less."""
    return body[:-1]


def blocks_on_disk(folder: Path) -> list[Path]:
    """The files of a disk cache."""
    return list(folder.glob("blocks/v1/?/*"))


@pytest.mark.parametrize("change", [flip, cut])
@pytest.mark.parametrize("size", [100 * 1024, 9 * MIB])
async def test_another_frontend_is_asked(
    folder_fleet: Fleet, tenant: str, fill: Fill, change: Callable[[bytes], bytes], size: int
) -> None:
    """Bytes that fail their check are fetched from another frontend, and the Read succeeds."""
    frontend, body = await folder_fleet.frontend(), fill(size)
    await frontend.tenant(tenant).commit("ref", body)
    async with lying_frontend(frontend.port, tenant, change) as liar:
        addresses = [f"127.0.0.1:{port}" for port in (liar.port, frontend.port)]
        for _ in range(4):  # which of them is asked first is left to chance
            async with agent_of(addresses, tenant) as agent:
                assert await agent.tenant.read(sha256(body)) == body
        assert liar.reads


@pytest.mark.parametrize(
    ("size", "consistent"), [(100 * 1024, False), (100 * 1024, True), (100, True), (9 * MIB, False)]
)
async def test_nothing_is_served(
    folder_fleet: Fleet, tenant: str, fill: Fill, size: int, consistent: bool
) -> None:
    """Where no frontend sends the right bytes, not one wrong byte is served, whatever the sums."""
    frontend, body = await folder_fleet.frontend(), fill(size)
    await frontend.tenant(tenant).commit("ref", body)
    async with (
        lying_frontend(frontend.port, tenant, flip, consistent=consistent) as liar,
        agent_of([f"127.0.0.1:{liar.port}"], tenant) as agent,
    ):
        await refused(StatusCode.DATA_LOSS, agent.tenant.read(sha256(body)))
        if size > 64 * 1024:
            assert agent.counted("holdfast_agent_refused_blocks_total") >= READINGS


async def test_a_damaged_disk(folder_fleet: Fleet, tenant: str, fill: Fill, tmp_path: Path) -> None:
    """A file of the disk cache that was changed is fetched again."""
    frontend, body = await folder_fleet.frontend(), fill(5 * MIB)
    await frontend.tenant(tenant).commit("ref", body)
    settings = {"disk_cache_budget": "64MiB", "disk_cache_dir": str(tmp_path / "blocks")}
    address = f"127.0.0.1:{frontend.port}"
    async with agent_of([address], tenant, **settings) as agent:
        assert await agent.tenant.read(sha256(body)) == body
        await eventually(lambda: len(blocks_on_disk(tmp_path)) == 2)
    for path in blocks_on_disk(tmp_path):
        path.write_bytes(flip(path.read_bytes()))
    async with agent_of([address], tenant, **settings) as agent:
        assert await agent.tenant.read(sha256(body)) == body
        assert agent.counted("holdfast_disk_cache_damaged_total") == 2
