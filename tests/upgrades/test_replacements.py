"""Frontends that are replaced by those of the other version while something is under way."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from holdfast.protos import content_pb2 as pb
from tests.servers.hanging_proxy import ALL, Hanging
from tests.servers.process import free_port
from tests.servers.s3_proxy import s3_proxy
from tests.service.fleet import HEADER, eventually, sha256
from tests.service.processes import connected
from tests.upgrades.client import CONTENT, HALF
from tests.upgrades.conftest import Pair
from tests.upgrades.replacing import beside

BOTH_WAYS: Final = (("old", "new"), ("new", "old"))
LEASE_TTL: Final = 3
"""Seconds after which a dead frontend's refs are free: the least there is."""


class Incomplete(Hanging):
    """A plan by which no upload is ever completed."""

    def take(self, kind: str) -> str:
        """Lets a completion hang until its client has given up."""
        completes = kind.startswith("POST ") and "uploadId=" in kind
        self.asked += [kind] * completes
        return "late" if completes else ""


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS)
async def test_a_frozen_commit(
    pair: Pair, before: str, after: str, tmp_path: Path, unique: str
) -> None:
    """A commit that one version has frozen when it dies is carried out by the other."""
    port = urlsplit(str(pair.settings["s3_endpoint"])).port
    data = unique.encode() + CONTENT[:HALF]
    assert port is not None
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(
            s3_proxy(port, lambda first: (ALL, first.rsplit(" ", 1)[0]))
        )
        plan = proxy.plans[ALL] = Incomplete()
        settings: dict[str, Any] = {
            **pair.settings,
            "s3_endpoint": f"http://127.0.0.1:{proxy.port}",
            "lease_ttl": LEASE_TTL,
        }
        running = pair.versions[before].serving(tmp_path / "log", **settings)
        served = await stack.enter_async_context(beside(running))
        client = await stack.enter_async_context(connected(served.address, unique))
        stream = client.write("layer")
        await stream.write_all(data)
        commit = asyncio.create_task(
            stream.send(pb.COMMIT, offset=len(data), labels={"stage": "raw"})
        )
        await eventually(lambda: plan.asked)
        await asyncio.to_thread(served.kill)
        await asyncio.gather(commit, return_exceptions=True)
    async with connected(pair.address(after), unique) as client:
        await client.abort("layer")  # whoever comes first finishes it
        info = await client.info(sha256(data))
        assert dict(info.labels) == {"stage": "raw"}
        assert await client.read(sha256(data)) == data
        assert not await client.statuses()


@pytest.mark.parametrize(("before", "after"), BOTH_WAYS)
async def test_behind_an_agent(
    pair: Pair, before: str, after: str, tmp_path: Path, unique: str
) -> None:
    """A node that writes and reads doesn't notice that its frontend is of the other version."""
    data = unique.encode() + CONTENT
    port = free_port()
    settings: dict[str, Any] = {
        **pair.settings,
        "listen": f"tcp://127.0.0.1:{port}?tenant-header={HEADER}",
        "lease_ttl": LEASE_TTL,
        "drain_grace": 1,
    }
    agent = pair.versions[before].serving(
        tmp_path / "agent.log",
        command="agent",
        agent_frontends=f"127.0.0.1:{port}",
        agent_tenant_header=HEADER,
        data_dir=tmp_path / "agent",
    )
    async with AsyncExitStack() as stack:
        running = pair.versions[before].serving(tmp_path / "before.log", **settings)
        served = await stack.enter_async_context(beside(running))
        node = await stack.enter_async_context(beside(agent))
        client = await stack.enter_async_context(connected(node.address, unique))
        stream = client.write("layer")
        await stream.write_all(data[:HALF])
        assert await asyncio.to_thread(served.terminate) == 0
        running = pair.versions[after].serving(tmp_path / "after.log", **settings)
        await stack.enter_async_context(beside(running))
        await stream.write_all(data, HALF)
        reply = await stream.send(pb.COMMIT, offset=len(data), expected=sha256(data))
        assert reply.digest == sha256(data)
        assert await client.read(sha256(data)) == data


@pytest.mark.parametrize("version", ["old", "new"])
async def test_both_are_seen(pair: Pair, version: str) -> None:
    """Whichever frontend an operator asks, it names those of both versions."""
    pids = {str(served.process.pid) for served in pair.frontends.values()}
    shown = pair.frontends[version]

    async def seen() -> bool:
        _, page = await asyncio.to_thread(shown.http, "/figures")
        return all(f"/{pid}<" in page for pid in pids)

    await eventually(seen)
