"""The transport alone: what others notice of each flood, and what idle connections cost.

One client makes one call after another, first while nobody does anything, then beside 10,000 idle
connections, then while an attacker floods; a disconnected attacker connects again at once. Nothing
of Holdfast is served, so that the figures are the transport's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import grpc

from tests.servers.process import free_port, listens, started
from tests.transport.floods import ECHO, FLOODS
from tests.transport.raw_client import ACK, PREFACE, Kind, frame, settings

KIB = 2**10
SECONDS = 5.0
"""Of calls beside each load."""
CONNECTIONS = 10_000
FIRST = 100
"""Connections that bring in what isn't theirs."""
BATCH = 200
"""Parts of a flood that are sent at once."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MOST_MEMORY = 16 * KIB
"""Bytes of a connection."""
MOST_RATIO = 10
"""A flooded server's 99th percentile in that of an idle one."""
GREETING = PREFACE + settings() + frame(Kind.SETTINGS, ACK)


@dataclass(frozen=True, slots=True)
class Row:
    """How long calls took beside one load, in s."""

    load: str
    calls: int
    median: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Result:
    """All loads; the first row is that of nobody else."""

    rows: list[Row]
    connections: int
    memory_per_connection: float

    @property
    def within_limits(self) -> bool:
        """Whether nobody notices much, and idle connections cost little."""
        most = MOST_RATIO * self.rows[0].p99
        return self.memory_per_connection <= MOST_MEMORY and all(
            row.p99 <= most for row in self.rows
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within_limits": self.within_limits}

    def text(self) -> str:
        """For people."""
        idle = self.rows[0].p99
        lines = [f"{'load':36s}  calls   median      p99  of idle   longest"]
        lines += [
            f"{row.load:36s} {row.calls:6d} {1000 * row.median:5.2f} ms {1000 * row.p99:5.2f} ms"
            f" {row.p99 / idle:6.1f} x {1000 * row.longest:6.1f} ms"
            for row in self.rows
        ]
        memory = self.memory_per_connection / KIB
        lines.append(f"memory of an idle connection, of {self.connections}: {memory:.1f} KiB")
        return "\n".join(lines)


def run(seconds: float, connections: int) -> Result:
    """Measures calls for some seconds beside each load."""
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as folder, ExitStack() as stack:
        port = free_port()
        command = [sys.executable, "-m", "tests.transport.serve", str(port)]
        log = Path(folder) / "log"
        server = stack.enter_context(started(command, log, lambda: listens(port)))
        _calls("warm-up", port, seconds)
        rows = [_calls("nobody else", port, seconds)]
        with ExitStack() as idle:
            _connect(idle, port, FIRST)
            before = _memory(server.pid)
            _connect(idle, port, connections)
            memory = (_memory(server.pid) - before) / connections
            rows.append(_calls(f"{connections} idle connections", port, seconds))
        for flood in FLOODS:
            with _attacker(flood.name, port, Path(folder)):
                rows.append(_calls(flood.name, port, seconds))
    return Result(rows, connections, memory)


def _calls(load: str, port: int, seconds: float) -> Row:
    took = asyncio.run(_call(port, seconds))
    took.sort()
    return Row(load, len(took), took[len(took) // 2], took[len(took) * 99 // 100], took[-1])


async def _call(port: int, seconds: float) -> list[float]:
    took: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary(ECHO, bytes, bytes)
        await echo(b"")
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until or not took:
            await echo(b"are you there?")
            took.append(time.monotonic() - began)
    return took


def _connect(stack: ExitStack, port: int, number: int) -> None:
    for _ in range(number):
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
        sock.sendall(GREETING)
        while not sock.recv(2**16).endswith(frame(Kind.SETTINGS, ACK)):
            pass


def _memory(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * PAGE


@contextmanager
def _attacker(name: str, port: int, folder: Path) -> Iterator[None]:
    began = folder / f"{name} began"
    command = [sys.executable, "-m", __name__, name, str(port), str(began)]
    with started(command, folder / "attacker", began.exists):
        yield


def attack(name: str, port: int, began: Path) -> None:
    """Floods until the process ends; says by a file that it has begun."""
    [flood] = (one for one in FLOODS if one.name == name)
    batches: list[bytes] = []
    parts = flood.parts()
    while sum(map(len, batches)) < 2**23:
        batches.append(b"".join(islice(parts, BATCH)))
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as sock:
            sock.sendall(GREETING)
            for batch in batches:
                sock.sendall(batch)
                began.touch()


if __name__ == "__main__":
    attack(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
