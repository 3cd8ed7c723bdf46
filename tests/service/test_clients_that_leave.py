"""Clients that go away in mid-call: normal, and nothing to log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import uuid7
from holdfast.storage.records import new_nonce
from tests.servers.process import wait_until
from tests.service.conftest import Fill
from tests.service.fleet import Tenant, sha256
from tests.service.processes import Served, connected, serving

MIB = 2**20
TIMES = 30


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A frontend that logs all that is worth more than debugging, but no line for each RPC."""
    data_dir = tmp_path / "data"
    with serving(tmp_path / "log", data_dir=data_dir, log_level="info", log_rpcs=0) as served:
        yield served


def make_holds(folder: Path, tenant: str, count: int) -> None:
    """Holds enough for a List of several messages."""
    holds = Holds(FolderStore(folder / "store"), uuid7, new_nonce)
    for n in range(count):
        digest = Digest.parse(sha256(str(n).encode()))
        holds.make(tenant, Hold(digest, 1, 1, 1, {"name": "x" * 3000}, 1, new_nonce()))


def under_way(served: Served, rpc: str) -> bool:
    """Whether such calls are still being carried out."""
    return f'holdfast_rpcs_under_way{{rpc="{rpc}"}} 0.0' not in served.http("/metrics")[1]


async def leave(call: grpc.aio.UnaryStreamCall[Any, Any], messages: int) -> None:
    """Takes some messages, and goes away."""
    for _ in range(messages):
        await call.read()
    call.cancel()


async def reads(client: Tenant, digest: str) -> None:
    """Reads that are broken off at once, or after a few messages."""
    request = pb.ReadContentRequest(digest=digest)
    for n in range(TIMES):
        calls = [client.stub.Read(request, metadata=client.metadata) for _ in range(4)]
        await asyncio.gather(*(leave(call, (n + k) % 5) for k, call in enumerate(calls)))


async def lists(client: Tenant) -> None:
    """Lists that are broken off at once, or after a message."""
    for n in range(TIMES):
        calls = [
            client.stub.List(pb.ListContentRequest(), metadata=client.metadata) for _ in range(4)
        ]
        await asyncio.gather(*(leave(call, (n + k) % 2) for k, call in enumerate(calls)))


async def test_in_mid_read(served: Served, fill: Fill, tenant: str) -> None:
    """Clients that go away in mid-Read leave nothing in the log."""
    data = fill(9 * MIB)
    async with connected(served.address, tenant) as client:
        await client.commit("ref", data)
        before = served.log.read_text("utf-8")
        await reads(client, sha256(data))
        await asyncio.to_thread(wait_until, lambda: not under_way(served, "Read"), "the last Read")
        assert await client.read(sha256(data)) == data
    assert served.log.read_text("utf-8") == before


async def test_in_mid_list(served: Served, tmp_path: Path, tenant: str) -> None:
    """Clients that go away in mid-List leave nothing in the log."""
    make_holds(tmp_path / "data", tenant, 250)
    async with connected(served.address, tenant) as client:
        before = served.log.read_text("utf-8")
        await lists(client)
        await asyncio.to_thread(wait_until, lambda: not under_way(served, "List"), "the last List")
        assert len(await client.list()) == 250
    assert served.log.read_text("utf-8") == before
