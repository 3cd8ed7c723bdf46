"""Calls that end in any way are no longer under way."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import grpc
import pytest

from holdfast.protos import content_pb2 as pb
from tests.service.conftest import Fill
from tests.service.fleet import DEADLINE, Fleet, Tenant, eventually, sha256

MIB = 2**20
ENDINGS = ("well", "error", "cancelled at once", "cancelled", "late", "half-closed", "silent")


class Clients:
    """Calls that end in any way."""

    def __init__(self, tenant: Tenant, source: random.Random, held: str) -> None:
        self._tenant = tenant
        self._source = source
        self._held = held

    async def some(self, number: int) -> None:
        """One call, of any kind, ended in any way."""
        act = self._source.choice([self._write, self._read, self._call])
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            await act(number, self._source.choice(ENDINGS))

    async def _leave(self, call: Any, ending: str) -> None:
        if ending == "cancelled":
            for _ in range(self._source.randrange(4)):
                await asyncio.sleep(0)
        call.cancel()

    async def _write(self, number: int, ending: str) -> None:
        stream = self._tenant.write(f"ref-{number if ending != 'error' else 0}")
        if ending not in {"silent", "cancelled at once"}:
            await stream.send(pb.STAT, expected="nonsense" if ending == "error" else "")
            await stream.send(pb.WRITE, data=b"hello")
        if ending == "well":
            await stream.send(pb.COMMIT)
        elif ending == "half-closed":
            await stream.half_close()
        else:
            await self._leave(stream, ending)

    async def _read(self, _: int, ending: str) -> None:
        digest = sha256(b"nobody's") if ending == "error" else self._held
        call = self._tenant.stub.Read(
            pb.ReadContentRequest(digest=digest),
            metadata=self._tenant.metadata,
            timeout=0.001 if ending == "late" else DEADLINE,
        )
        if ending in {"well", "error", "late", "half-closed"}:
            async for _message in call:
                pass
        else:
            await self._leave(call, ending)

    async def _call(self, _: int, ending: str) -> None:
        stub, own = self._tenant.stub, self._tenant.metadata
        digest = "nonsense" if ending == "error" else self._held
        request, timeout = pb.InfoRequest(digest=digest), 0.001 if ending == "late" else DEADLINE
        calls: list[Any] = [
            stub.Info(request, timeout=timeout, metadata=own),
            stub.ListStatuses(pb.ListStatusesRequest(), timeout=timeout, metadata=own),
            stub.List(pb.ListContentRequest(), timeout=timeout, metadata=own),
        ]
        for call in calls:
            if "cancelled" in ending:
                await self._leave(call, ending)
            elif call is calls[-1]:
                await call.read()
            else:
                await call


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_leaks(folder_fleet: Fleet, tenant: str, fill: Fill, seed: int) -> None:
    """However calls end, refused ones among them, in the end nothing is counted as under way."""
    frontend = await folder_fleet.frontend(max_streams=4, max_reads=4, max_calls=4)
    client, data = frontend.tenant(tenant), fill(3 * MIB)
    await client.commit("ref", data)
    clients = Clients(client, random.Random(seed), sha256(data))  # noqa: S311 -- no secret
    await asyncio.gather(*(clients.some(number) for number in range(60)))
    gates = frontend.running.frontend.overload.gates.values()
    await eventually(lambda: not any(gate.under_way for gate in gates))
    await client.commit("last", b"last")
    assert await client.read(sha256(b"last")) == b"last"
    assert (await client.info(sha256(b"last"))).size == 4
