"""Info and small Reads while others write as fast as they can, beside the same when idle.

Client, server and backend share the machine's cores, so that a load slows down whatever
runs beside it. What part of that is the machine's shows a Python server that does nothing:
it is asked beside the same load. What Python's gRPC alone can't do better shows the same
server when it is itself written to, and a frontend on that gRPC.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave
from bench.compare.peers import Frontend, Peers, drive, flags
from bench.programs import tool

MIB = 2**20
SMALL = 4096
CALLS = 500
"""Of one run, one after another: the fifth slowest is the 99th percentile."""
UNDER_WAY = 64 * MIB
"""Bytes after which a load is in full swing."""
PATIENCE = 60.0
EMPTY: Final = "an empty grpc.aio server's Info, beside the same load"
WRITTEN_TO: Final = "an empty grpc.aio server"
ON_GRPCIO: Final = "Holdfast on grpcio's server"
EMPTY_IS_FASTER: Final = 4
"""Times as many blobs go into a server that does nothing with them, so that they last."""


@dataclass(frozen=True, slots=True)
class Load:
    """Writers at once, in lock-step with messages of 1 MiB; each `count` blobs of `size` bytes.

    Beside them a 99th percentile may be `most` times that when idle.
    """

    writers: int
    size: int
    count: int
    most: float

    def __str__(self) -> str:
        """What a table calls it."""
        return f"{self.writers} writers of {self.size // MIB} MiB"

    @contextmanager
    def beside(self, frontend: Frontend) -> Iterator[None]:
        """Writes for as long as the block takes."""
        before = frontend.figure("holdfast_written_bytes_total")
        with self._writing(frontend.address, self.count) as writers:
            deadline = time.monotonic() + PATIENCE
            while frontend.figure("holdfast_written_bytes_total") < before + UNDER_WAY:
                if writers.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self} don't begin to write")
                time.sleep(0.05)
            yield

    @contextmanager
    def into(self, empty: str) -> Iterator[None]:
        """Writes into a server that keeps nothing, for as long as the block takes."""
        with self._writing(empty, self.count * EMPTY_IS_FASTER):
            yield

    @contextmanager
    def _writing(self, address: str, count: int) -> Iterator[subprocess.Popen[str]]:
        options: dict[str, object] = {
            "address": address,
            "clients": self.writers,
            "size": self.size,
            "count": count,
        }
        writers = subprocess.Popen(
            [tool("peers"), "write", *flags(options)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert writers.stderr
            if not writers.stderr.readline():
                raise SystemExit(f"{self} don't begin to write")
            yield writers
            if writers.poll() is not None:
                reason = writers.stderr.read() or "they were done"
                raise SystemExit(f"{self} ended before what was measured beside them: {reason}")
        finally:
            writers.kill()
            writers.communicate()


LOADS: Final = (Load(8, 256 * MIB, 2, 8.0), Load(64, 64 * MIB, 1, 20.0))


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is made over and over: `act` of the measuring client, and its options."""

    name: str
    act: str
    options: dict[str, object]

    def p99(self, address: str) -> Ran:
        """The 99th percentile, in ms."""
        done = drive(self.act, address=address, count=CALLS, **self.options)
        return Ran(1000 * float(done["p99"]))

    def beside(self, load: Load, frontend: Frontend, address: str) -> Ran:
        """The same while `frontend` is written to."""
        with load.beside(frontend):
            return self.p99(address)

    def into(self, load: Load, empty: str) -> Ran:
        """Of a server that keeps nothing, while it is written to."""
        with load.into(empty):
            return self.p99(empty)


def fairness(peers: Peers, rounds: int) -> list[Measured]:
    """The 99th percentile of calls one after another, beside each load and when idle."""
    frontend, empty = peers.frontend(transport="own"), peers.empty_server()
    other = peers.frontend(transport="grpcio")
    digest = drive("write", address=frontend.address, size=SMALL)["digests"][0]
    info = Call("Info, hot", "info", {"digest": digest})
    read = Call("Read of 4 KiB, hot", "read", {"digest": digest, "size": SMALL})
    runs: dict[str, Run] = {call.name: partial(call.p99, frontend.address) for call in (info, read)}
    for load in LOADS:
        for call in (info, read):
            runs[f"{call.name}, {load}"] = partial(call.beside, load, frontend, frontend.address)
        runs[f"grpcio, {load}"] = partial(info.beside, load, other, other.address)
        runs[f"empty, {load}"] = partial(info.beside, load, frontend, empty)
        runs[f"written to, {load}"] = partial(info.into, load, empty)
    runs["empty"] = partial(info.p99, empty)
    runs["grpcio"] = partial(info.p99, other.address)
    found = interleave(rounds, runs)
    measured: list[Measured] = []
    for load in LOADS:
        for call in (info, read):
            name = f"99th percentile of {call.name}, beside {load}"
            idle = Target(name, "the same when idle", "ms", load.most, "at most")
            machine = Target(name, EMPTY, "ms")
            measured += compare(
                f"{call.name}, {load}", {call.name: idle, f"empty, {load}": machine}, found
            )
        name = f"99th percentile of {info.name}, beside {load}"
        on_grpcio, possible = (
            Target(name, "the same when idle", "ms", ours=who) for who in (ON_GRPCIO, WRITTEN_TO)
        )
        measured += compare(f"grpcio, {load}", {"grpcio": on_grpcio}, found)
        measured += compare(f"written to, {load}", {"empty": possible}, found)
    return measured
