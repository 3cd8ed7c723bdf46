"""Calls that are opened and reset at once, by the thousand: their neighbours are answered."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from holdfast.protos import content_pb2 as pb
from holdfast.service.rpc.content import SERVICE
from tests.servers.resetting_client import resets
from tests.service.fleet import HEADER, Fleet, eventually, sha256

CALLS = 4000
"""More than gRPC's core keeps waiting by its own bounds, 1,000 and 3,000."""
CONNECTIONS = 2


async def test_a_neighbour(folder_fleet: Fleet, tenant: str) -> None:
    """While another tenant resets its calls, every call is answered, and nothing is left over."""
    frontend = await folder_fleet.frontend()
    client, digest = frontend.tenant(tenant), sha256(b"hello")
    await client.commit("ref", b"hello")
    message = pb.InfoRequest(digest=digest).SerializeToString()
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            attack = resets(frontend.port, CALLS, f"/{SERVICE}/Info", {HEADER: "other"}, message)
            await stack.enter_async_context(attack)
        answers = await asyncio.gather(*(client.info(digest) for _ in range(50)))
        assert [info.size for info in answers] == [5] * 50
    gates = frontend.running.frontend.overload.gates.values()
    await eventually(lambda: not any(gate.under_way for gate in gates))


async def test_writers_that_reset(folder_fleet: Fleet, tenant: str) -> None:
    """Streams that are opened and reset leave no ref locked, and nothing under way."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    first = pb.WriteContentRequest(action=pb.STAT, ref="ref").SerializeToString()
    async with resets(frontend.port, 200, f"/{SERVICE}/Write", {HEADER: tenant}, first):
        await eventually(lambda: frontend.counted("holdfast_leases") == 0)
    gates = frontend.running.frontend.overload.gates.values()
    await eventually(lambda: not any(gate.under_way for gate in gates))
    await client.commit("ref", b"hello")
    assert await client.read(sha256(b"hello")) == b"hello"
