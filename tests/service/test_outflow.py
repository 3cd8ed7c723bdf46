"""What Reads have handed over and nobody takes: bounded, and given back."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.process.trimming import BURST, GONE, Trimming
from holdfast.service.rpc.outflow import LARGEST, LEAST, SHARE, SIZE, Outflow
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Tenant, eventually, sha256
from tests.service.processes import serving

MIB = 2**20
ReadCall = grpc.aio.UnaryStreamCall[pb.ReadContentRequest, pb.ReadContentResponse]
READERS = 512
"""As many Reads as a frontend lets in by default."""


def test_few_readers_get_large_messages() -> None:
    """A message is as large as may be until most of the room is handed over."""
    outflow = Outflow()
    outflow.handed = SIZE - SHARE * LARGEST
    assert outflow.message() == LARGEST
    outflow.handed += 1
    assert LARGEST // 2 < outflow.message() < LARGEST


def test_messages_of_many_are_small() -> None:
    """Where all is handed over, and beyond, messages have the least size: nobody waits."""
    outflow = Outflow()
    for handed in (SIZE, 2 * SIZE):
        outflow.handed = handed
        assert outflow.message() == LEAST


@given(st.lists(st.integers(0, READERS - 1), max_size=300))
def test_bound(turns: list[int]) -> None:
    """However readers come, stand still and go, no more is handed over than is promised."""
    outflow, kept = Outflow(SIZE // 8), dict[int, int]()
    for reader in turns:
        if reader in kept:
            outflow.handed -= kept.pop(reader)
        else:
            kept[reader] = outflow.message()
            outflow.handed += kept[reader]
        assert outflow.handed <= SIZE // 8 + len(kept) * LEAST


async def stalled(client: Tenant, digest: str) -> ReadCall:
    """A Read whose client takes one message and stops."""
    call = client.stub.Read(
        pb.ReadContentRequest(digest=digest), metadata=client.metadata, timeout=120
    )
    first = await call.read()
    assert isinstance(first, pb.ReadContentResponse)
    assert first.data
    return call


async def test_clients_that_stop(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """Reads whose clients have stopped keep little, others go on, and nothing is kept after."""
    frontend, data = await folder_fleet.frontend(), fill(4 * MIB)
    client, outflow = frontend.tenant(tenant), frontend.running.frontend.outflow
    await client.commit("ref", data)
    calls = [await stalled(client, sha256(data)) for _ in range(60)]
    assert SIZE // 2 < outflow.handed <= SIZE + 60 * LEAST
    assert await client.read(sha256(data)) == data
    for call in calls:
        call.cancel()
    await eventually(lambda: outflow.handed == 0)


# -- memory that is given back


class Heaps:
    """What is taken, and how often it was trimmed."""

    def __init__(self) -> None:
        self.taken = self.trims = 0
        self.trimming = Trimming(lambda: self.taken, self.trim)

    def trim(self) -> None:
        """As the C library does."""
        self.trims += 1

    async def see(self, *amounts: int) -> int:
        """Looks at each of some amounts; returns how often all was trimmed since the beginning."""
        for self.taken in amounts:
            await self.trimming.look()
        return self.trims


async def test_a_burst_that_is_over() -> None:
    """After a burst memory is given back once, and again after the next one."""
    heaps = Heaps()
    assert await heaps.see(0, BURST, BURST // GONE + 1) == 0
    assert await heaps.see(BURST // GONE, 0, 0) == 1
    assert await heaps.see(BURST, 0) == 2


async def test_no_burst() -> None:
    """A steady load, and a small one, are left alone."""
    assert await Heaps().see(*[4 * BURST, 2 * BURST] * 5) == 0
    assert await Heaps().see(*[BURST - 1, 0] * 5) == 0


async def test_it_goes_on() -> None:
    """Looks go on for as long as the process."""
    heaps, pauses = Heaps(), iter([BURST, 0, BURST, 0])

    async def sleep(_: float) -> None:
        try:
            heaps.taken = next(pauses)
        except StopIteration:
            raise asyncio.CancelledError from None

    with pytest.raises(asyncio.CancelledError):
        await heaps.trimming.keep(sleep)
    assert heaps.trims == 2


@pytest.mark.slow
@pytest.mark.parametrize(("size", "budget"), [(16 * MIB, 64 * MIB), (MIB, 64 * MIB)])
def test_memory(tmp_path: Path, fill: Fill, size: int, budget: int) -> None:
    """As many Reads as may be, all stopped, keep a frontend within the rule; then it shrinks."""
    data = fill(size)
    digest = sha256(data)

    def resident(pid: int, what: str) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    async def read(address: str, pid: int) -> None:
        channels = [
            grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
            for _ in range(8)
        ]
        clients = [
            Tenant(content_pb2_grpc.ContentStub(channel), ((HEADER, "t"),)) for channel in channels
        ]
        await clients[0].commit("ref", data)
        before = resident(pid, "VmRSS")
        calls = [await stalled(clients[n % 8], digest) for n in range(READERS)]
        peak = resident(pid, "VmHWM")
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()
        await eventually(lambda: resident(pid, "VmRSS") < before + 96 * MIB)
        assert peak < 250 * MIB + budget

    with serving(
        tmp_path / "log", data_dir=tmp_path / "data", buffer_budget=budget, cache_budget=budget
    ) as served:
        asyncio.run(read(served.address, served.process.pid))
