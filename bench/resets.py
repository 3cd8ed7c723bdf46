"""Calls that one tenant opens and resets at once: how long its neighbours wait meanwhile.

A process of its own opens `calls` Infos as another tenant and resets each in the same moment, on
connections that it opens again whenever the frontend ends one. Four neighbours on the same listener
make an Info every 10 ms, which they never try again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from bench.compare.peers import TENANT, Frontend, Peers
from bench.tables import table
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.rpc.content import SERVICE
from tests.servers.resetting_client import resets

CALLS = 30_000
AT_ONCE = 1_000
"""Calls of one connection, if the frontend doesn't end it sooner."""
TRANSPORTS: Final = ("own", "grpcio")
NEIGHBOURS = 4
PAUSE = 0.01
LONGEST = 1.0
"""Seconds that a neighbour may wait on our own transport."""
HEADER: Final = "x-holdfast-tenant"
CONTENT: Final = b"hello"
DIGEST: Final = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Waits:
    """What neighbours were answered, and how long it took, in s."""

    took: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """How long so many of the calls took at most."""
        return sorted(self.took)[min(len(self.took) - 1, int(share * len(self.took)))]


@dataclass(frozen=True, slots=True)
class Row:
    """One transport, with the attack and before it.

    Attributes:
        transport: which.
        attacked: whether calls were reset meanwhile.
        seconds: that it took.
        calls: of all neighbours.
        failed: how many of them ended with which other code than OK.
        p99: s, 99 % of them took no longer.
        longest: s.
        cpu: s that the frontend used.
    """

    transport: str
    attacked: bool
    seconds: float
    calls: int
    failed: dict[str, int]
    p99: float
    longest: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Result:
    """All rows."""

    resets: int
    rows: list[Row]

    @property
    def within_limits(self) -> bool:
        """Whether no neighbour failed, and on our own transport none waited for long."""
        return not any(row.failed for row in self.rows) and all(
            row.longest <= LONGEST for row in self.rows if row.transport == "own"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within_limits": self.within_limits}

    def text(self) -> str:
        """For people."""
        head = ("transport", "resets", "s", "calls", "failed", "p99 ms", "longest ms", "CPU s")
        return table(
            head,
            [
                (
                    row.transport,
                    f"{self.resets if row.attacked else 0}",
                    f"{row.seconds:.1f}",
                    f"{row.calls}",
                    ", ".join(f"{count} {code}" for code, count in row.failed.items()) or "0",
                    f"{1000 * row.p99:.1f}",
                    f"{1000 * row.longest:.1f}",
                    f"{row.cpu:.2f}",
                )
                for row in self.rows
            ],
        )


def run(calls: int) -> Result:
    """Lets a tenant reset so many calls on each transport."""
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as folder, Peers(Path(folder)) as peers:
        rows: list[Row] = []
        for transport in TRANSPORTS:
            frontend = peers.frontend(transport=transport)
            rows += asyncio.run(_measure(transport, frontend, calls))
        return Result(calls, rows)


async def _measure(transport: str, frontend: Frontend, calls: int) -> list[Row]:
    async with grpc.aio.insecure_channel(frontend.address) as channel:
        await _commit(content_pb2_grpc.ContentStub(channel))
    quiet = await _beside(transport, frontend, 0)
    return [quiet, await _beside(transport, frontend, calls)]


async def _commit(stub: content_pb2_grpc.ContentAsyncStub) -> None:
    commit = pb.WriteContentRequest(
        action=pb.COMMIT, ref="ref", data=CONTENT, total=len(CONTENT), expected=DIGEST
    )
    with suppress(grpc.aio.AioRpcError):  # ALREADY_EXISTS, on the second transport
        async for _ in stub.Write(iter([commit]), metadata=((HEADER, TENANT),)):
            pass


async def _beside(transport: str, frontend: Frontend, calls: int) -> Row:
    """Neighbours' calls while somebody resets `calls`; for some seconds if that is nobody."""
    waits, done = Waits(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(NEIGHBOURS):
            group.create_task(_neighbour(frontend.address, waits, done))
        await asyncio.sleep(1)  # they are connected
        waits.took.clear()
        began, cpu = time.monotonic(), _cpu(frontend)
        if calls:
            attacker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", __name__, frontend.address, str(calls)
            )
            await attacker.wait()
        else:
            await asyncio.sleep(5)
        await asyncio.sleep(1)  # what is queued at the frontend
        done.set()
    return Row(
        transport,
        bool(calls),
        time.monotonic() - began,
        len(waits.took),
        dict(waits.codes),
        waits.percentile(0.99),
        max(waits.took),
        _cpu(frontend) - cpu,
    )


async def _neighbour(address: str, waits: Waits, done: asyncio.Event) -> None:
    request = pb.InfoRequest(digest=DIGEST)
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(address, own) as channel:
        stub = content_pb2_grpc.ContentStub(channel)
        while not done.is_set():
            began = time.monotonic()
            try:
                await stub.Info(request, metadata=((HEADER, TENANT),), timeout=60)
            except grpc.aio.AioRpcError as error:
                waits.codes[error.code().name] += 1
            waits.took.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE)


def _cpu(frontend: Frontend) -> float:
    stat = Path(f"/proc/{frontend.process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


async def attack(port: int, calls: int) -> None:
    """Opens and resets so many calls, and goes on wherever the frontend ends a connection."""
    message = pb.InfoRequest(digest=DIGEST).SerializeToString()
    for number in _portions(calls):
        with suppress(ConnectionError):
            async with resets(port, number, f"/{SERVICE}/Info", {HEADER: "other"}, message):
                pass


def _portions(calls: int) -> Iterator[int]:
    while calls > 0:
        yield min(calls, AT_ONCE)
        calls -= AT_ONCE


if __name__ == "__main__":
    asyncio.run(attack(int(sys.argv[1].rpartition(":")[2]), int(sys.argv[2])))
