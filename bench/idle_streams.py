"""Write streams that are open and silent: what they cost one frontend.

Each sends a few bytes, and then nothing. The frontend should only renew its lease from then on,
three times in `HOLDFAST_LEASE_TTL` (15 s).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from redis import Redis

from bench.compare.peers import TENANT, Frontend, Peers
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc

KIB = 2**10
STREAMS = 1000
CONNECTIONS = 50
"""Nodes: containerd has one connection."""
SECONDS = 30.0
"""Of silence that are measured: two lives of a lease."""
SETTLING = 5.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MOST_CPU = 0.1
"""Of a core, for 1,000 streams."""
MOST_MEMORY = 64 * KIB
"""Bytes of a stream."""
MOST_SCRIPTS = 0.25
"""Scripts in Redis per stream and second: three renewals in 15 s are 0.2."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a frontend and its Redis have used so far: CPU seconds, bytes, scripts."""

    at: float
    cpu: float
    redis_cpu: float
    memory: int
    scripts: int

    @classmethod
    def of(cls, frontend: Frontend, redis: Redis) -> Reading:
        """Now."""
        stat = Path(f"/proc/{frontend.process}/stat").read_text("ascii").rpartition(")")[2].split()
        pages = int(Path(f"/proc/{frontend.process}/statm").read_text("ascii").split()[1])
        found: Any = redis.info("all")
        return cls(
            time.monotonic(),
            (int(stat[11]) + int(stat[12])) / TICKS,
            found["used_cpu_user"] + found["used_cpu_sys"],
            pages * PAGE,
            found["cmdstat_evalsha"]["calls"],
        )


@dataclass(frozen=True, slots=True)
class Result:
    """Per second of silence, and per stream; without streams for comparison."""

    streams: int
    cpu_without: float
    cpu: float
    redis_cpu: float
    scripts_without: float
    scripts: float
    memory_per_stream: float

    @property
    def within_limits(self) -> bool:
        """Whether they cost little."""
        return (
            self.cpu - self.cpu_without <= MOST_CPU * self.streams / 1000
            and self.memory_per_stream <= MOST_MEMORY
            and self.scripts <= MOST_SCRIPTS * self.streams + self.scripts_without
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within_limits": self.within_limits}

    def text(self) -> str:
        """For people."""
        without = (100 * self.cpu_without, self.scripts_without)
        return "\n".join(
            (
                f"streams              {self.streams:8d}, open and silent",
                f"CPU                  {100 * self.cpu:8.2f} % of a core, {without[0]:.2f} without",
                f"CPU of Redis         {100 * self.redis_cpu:8.2f} % of a core",
                f"scripts run in Redis {self.scripts:8.1f} per second, {without[1]:.1f} without",
                f"memory of a stream   {self.memory_per_stream / KIB:8.1f} KiB",
            )
        )


def run(streams: int, seconds: float) -> Result:
    """Opens streams, and measures for `seconds` what their silence costs."""
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as folder, Peers(Path(folder)) as peers:
        frontend = peers.frontend()
        with Redis.from_url(peers.redis.url) as redis:
            return asyncio.run(_measure(frontend, redis, streams, seconds))


async def _measure(frontend: Frontend, redis: Redis, streams: int, seconds: float) -> Result:
    # The first ones bring in code and connections, which aren't theirs.
    async with AsyncExitStack() as first:
        await _open(frontend, first, "first", 20)
    await asyncio.sleep(SETTLING)
    empty = await _over(frontend, redis, seconds)
    async with AsyncExitStack() as stack:
        await _open(frontend, stack, "idle", streams)
        await asyncio.sleep(SETTLING)
        full = await _over(frontend, redis, seconds)
        open_streams = int(frontend.figure("holdfast_streams"))
        if open_streams != streams:
            raise SystemExit(f"{open_streams} streams are open instead of {streams}")
    return Result(
        streams=streams,
        cpu_without=_rate(empty, "cpu"),
        cpu=_rate(full, "cpu"),
        redis_cpu=_rate(full, "redis_cpu"),
        scripts_without=_rate(empty, "scripts"),
        scripts=_rate(full, "scripts"),
        memory_per_stream=(full[1].memory - empty[1].memory) / streams,
    )


async def _over(frontend: Frontend, redis: Redis, seconds: float) -> tuple[Reading, Reading]:
    begun = Reading.of(frontend, redis)
    await asyncio.sleep(seconds)
    return begun, Reading.of(frontend, redis)


def _rate(readings: tuple[Reading, Reading], name: str) -> float:
    first, last = readings
    return float((getattr(last, name) - getattr(first, name)) / (last.at - first.at))


async def _open(frontend: Frontend, stack: AsyncExitStack, name: str, streams: int) -> None:
    """Opens streams that have written a few bytes; they are given up with `stack`."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    stubs = []
    for _ in range(min(CONNECTIONS, streams)):
        channel = grpc.aio.insecure_channel(frontend.address, own)
        stack.push_async_callback(channel.close)
        stubs.append(content_pb2_grpc.ContentStub(channel))
    for number in range(streams):
        call = stubs[number % len(stubs)].Write(metadata=(("x-holdfast-tenant", TENANT),))
        stack.callback(call.cancel)
        for request in (
            pb.WriteContentRequest(action=pb.STAT, ref=f"{name}-{number}", total=2**20),
            pb.WriteContentRequest(action=pb.WRITE, data=b"hello"),
        ):
            await call.write(request)
            if await call.read() is grpc.aio.EOF:
                raise SystemExit(f"stream {number} ended: {await call.details()}")
