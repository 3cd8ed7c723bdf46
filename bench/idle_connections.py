"""Connections that do nothing: what they cost a frontend, and what others notice of them.

Each has said what HTTP/2 demands, and answers the frontend's PINGs; nothing else happens on it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from bench.compare.peers import Frontend, Peers, drive
from tests.transport.raw_client import ACK, PREFACE, Kind, frame, settings

KIB: Final = 2**10
CONNECTIONS: Final = 10_000
FIRST: Final = 100
"""Connections that bring in what isn't theirs: code, buffers, arenas."""
AT_ONCE: Final = 100
"""Connections that are made at once."""
SECONDS: Final = 60.0
"""Of idleness that are measured: each connection is asked twice whether it is there."""
CALLS: Final = 3_000
"""Infos of one run, one after another."""
RUNS: Final = 3
BLOB: Final = 4 * KIB
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MOST_MEMORY: Final = 16 * KIB
"""Bytes of a connection."""
GREETING: Final = PREFACE + settings() + frame(Kind.SETTINGS, ACK)
ACKNOWLEDGED: Final = frame(Kind.SETTINGS, ACK)
HEAD: Final = 9
"""Bytes of a frame before its payload."""
PING: Final = HEAD + 8


@dataclass(frozen=True, slots=True)
class Result:
    """What idle connections cost, and the latency of Infos without them and beside them, in ms."""

    transport: str
    connections: int
    memory_per_connection: float
    cpu_without: float
    cpu: float
    p50_without: float
    p50: float
    p99_without: float
    p99: float

    @property
    def within_limits(self) -> bool:
        """Whether they cost little memory: how fast the rest is, the reader must judge."""
        return self.memory_per_connection <= MOST_MEMORY

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within_limits": self.within_limits}

    def text(self) -> str:
        """For people."""
        cpu, cpu_without = 100 * self.cpu, 100 * self.cpu_without
        return "\n".join(
            (
                f"connections            {self.connections:8d}, idle, on {self.transport}",
                f"memory of a connection {self.memory_per_connection / KIB:8.1f} KiB",
                f"CPU                    {cpu:8.2f} % of a core, {cpu_without:.2f} without",
                f"Info, median           {self.p50:8.2f} ms, {self.p50_without:.2f} without",
                f"Info, 99th percentile  {self.p99:8.2f} ms, {self.p99_without:.2f} without",
            )
        )


class Idle(asyncio.Protocol):
    """A connection that answers PINGs."""

    def __init__(self) -> None:
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends what a client sends first."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        """Answers PINGs; the server sends nothing else after its greeting."""
        if not self._greeted.done():
            self._received += data
            if ACKNOWLEDGED in self._received:
                self._greeted.set_result(None)
        if data[3:4] == bytes([Kind.PING]) and not data[4] & ACK:
            self.transport.write(frame(Kind.PING, ACK, payload=data[HEAD:PING]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The frontend has closed it."""
        if not self._greeted.done():
            self._greeted.set_exception(exc or ConnectionError("closed before its greeting"))

    async def greeted(self) -> None:
        """Waits until both sides have said what they must."""
        await self._greeted


def run(connections: int, seconds: float, transport: str) -> Result:
    """Measures Infos, connects, measures what idleness costs, and measures Infos again."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-bench-"))
        peers = stack.enter_context(Peers(Path(folder)))
        frontend = peers.frontend(transport=transport)
        digest = str(drive("write", address=frontend.address, size=BLOB)["digests"][0])
        return asyncio.run(_measure(frontend, digest, connections, seconds, transport))


async def _measure(
    frontend: Frontend, digest: str, connections: int, seconds: float, transport: str
) -> Result:
    await _infos(frontend, digest)  # warms up
    without = await _infos(frontend, digest)
    cpu_without = await _cpu(frontend, seconds / 2)
    first = await _connect(frontend, FIRST)
    before = _memory(frontend)
    others = await _connect(frontend, connections)
    memory = (_memory(frontend) - before) / connections
    cpu = await _cpu(frontend, seconds)
    beside = await _infos(frontend, digest)
    lost = sum(one.transport.is_closing() for one in first + others)
    if lost:
        raise SystemExit(f"{lost} of the connections were closed meanwhile")
    for one in first + others:
        one.transport.abort()
    p50_without, p99_without = without
    p50, p99 = beside
    return Result(
        transport, connections, memory, cpu_without, cpu, p50_without, p50, p99_without, p99
    )


async def _infos(frontend: Frontend, digest: str) -> tuple[float, float]:
    """Median and 99th percentile of Infos in ms: the medians of some runs."""
    runs = []
    for _ in range(RUNS):
        done = await asyncio.to_thread(
            drive, "info", address=frontend.address, digest=digest, count=CALLS
        )
        runs.append((1000 * float(done["p50"]), 1000 * float(done["p99"])))
    p50, p99 = zip(*runs, strict=True)
    return statistics.median(p50), statistics.median(p99)


async def _connect(frontend: Frontend, number: int) -> list[Idle]:
    host, port = frontend.address.split(":")
    loop = asyncio.get_running_loop()
    made: list[Idle] = []
    while len(made) < number:
        connecting = (loop.create_connection(Idle, host, int(port)) for _ in range(AT_ONCE))
        batch = [idle for _, idle in await asyncio.gather(*connecting)]
        await asyncio.gather(*(idle.greeted() for idle in batch))
        made += batch
    return made


async def _cpu(frontend: Frontend, seconds: float) -> float:
    """The part of a core that a frontend uses while nobody asks it anything."""
    began, before = time.monotonic(), _used(frontend)
    await asyncio.sleep(seconds)
    return (_used(frontend) - before) / (time.monotonic() - began)


def _used(frontend: Frontend) -> float:
    stat = Path(f"/proc/{frontend.process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def _memory(frontend: Frontend) -> int:
    return int(Path(f"/proc/{frontend.process}/statm").read_text("ascii").split()[1]) * PAGE
