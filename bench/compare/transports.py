"""Both transports under the same loads: a frontend on our own, and one on grpcio's server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.compare import loads
from bench.compare.loads import HOT, MIB, Done
from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave
from bench.compare.peers import Peers, drive

OTHER: Final = "the same on grpcio's server"
CALLS: Final = 3_000
WRITTEN: Final = 64 * MIB
LONG_READS: Final = 8
FRONTEND: Final = "frontend"
"""Whose CPU is compared: the role of both, of which one rests while the other is asked."""


@dataclass(frozen=True, slots=True)
class Work:
    """A load on a server at an address, by a digest that it has; and its unit."""

    name: str
    unit: str
    act: Callable[[str, str], Done]


def _infos(address: str, digest: str) -> Done:
    done = drive("info", address=address, digest=digest, count=CALLS)
    return Done.of(done["count"], done)


def _writes(address: str, _: str) -> Done:
    return Done.of(WRITTEN / MIB, drive("write", address=address, size=WRITTEN))


def _long_reads(address: str, digest: str) -> Done:
    done = drive("read", address=address, digest=digest, size=HOT, count=LONG_READS)
    return Done.of(LONG_READS * HOT / MIB, done)


WORKS: Final = (
    Work("Info, hot, one after another", "call", _infos),
    Work("Info, hot, 64 at once, the Go client", "call", loads.infos),
    Work("Read of 32 KiB, hot", "Read", loads.unpack),
    Work("WRITE of 240 bytes, in lock-step", "WRITE", lambda at, _: loads.small_writes(at)),
    Work("WRITE of 1 MiB, in lock-step", "WRITE", _writes),
    Work("a MiB of a long Read, hot", "MiB", _long_reads),
)


def transports(peers: Peers, rounds: int) -> list[Measured]:
    """Each load on both: how fast it is, and what CPU a call costs the frontend."""
    servers = {
        "holdfast": peers.frontend(transport="own").address,
        "grpcio": peers.frontend(transport="grpcio").address,
    }
    digest = drive("write", address=servers["holdfast"], size=HOT)["digests"][0]
    measured: list[Measured] = []
    for work in WORKS:
        runs: Mapping[str, Run] = {
            name: partial(_ran, work, at, digest) for name, at in servers.items()
        }
        found = interleave(rounds, runs)
        rate = Target(work.name, OTHER, f"{work.unit}s/s", 1.0)
        measured += compare("holdfast", {"grpcio": rate}, found)
        spent = {name: [Ran(ran.cpu[FRONTEND]) for ran in each] for name, each in found.items()}
        name = f"the frontend's CPU for {work.name}"
        cost = Target(name, OTHER, f"ms per {work.unit}", 1.0, "at most")
        measured += compare("holdfast", {"grpcio": cost}, spent)
    return measured


def _ran(work: Work, address: str, digest: str) -> Ran:
    return work.act(address, digest).ran
