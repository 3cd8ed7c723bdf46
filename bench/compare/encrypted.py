"""One frontend under the same loads by two listeners: with certificates, and without TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.compare.loads import HOT, INFOS, MIB, WORKERS, Done
from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave
from bench.compare.peers import OURS, Peers, drive
from tests.servers.authority import Authority
from tests.servers.process import free_port

OTHER: Final = "the same without TLS"
CALLS: Final = 3_000
WRITTEN: Final = 64 * MIB
LONG_READS: Final = 8
FRONTEND: Final = "frontend"

Way = Mapping[str, Any]
"""A listener: its address and, with TLS, the client's files."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A load, its unit, and the share of the plain listener's rate that it must reach."""

    name: str
    unit: str
    ratio: float
    act: Callable[[Way, str], Done]


def _infos(way: Way, digest: str) -> Done:
    done = drive("info", digest=digest, count=CALLS, **way)
    return Done.of(done["count"], done)


def _infos_together(way: Way, digest: str) -> Done:
    done = drive("info", digest=digest, clients=WORKERS, connections=1, count=INFOS, **way)
    return Done.of(done["count"], done)


def _writes(way: Way, _: str) -> Done:
    return Done.of(WRITTEN / MIB, drive("write", size=WRITTEN, **way))


def _reads(way: Way, digest: str) -> Done:
    done = drive("read", digest=digest, size=HOT, count=LONG_READS, **way)
    return Done.of(LONG_READS * HOT / MIB, done)


def _unpack(way: Way, digest: str) -> Done:
    done = drive("unpack", digest=digest, **way)
    return Done.of(done["count"], done)


WORKS: Final = (
    Encrypted("Info, hot, one after another", "call", 0.9, _infos),
    Encrypted("Info, hot, 64 at once", "call", 0.9, _infos_together),
    Encrypted("WRITE of 1 MiB, in lock-step", "MiB", 0.8, _writes),
    Encrypted("a long Read, hot", "MiB", 0.8, _reads),
    Encrypted("Read of 32 KiB, hot", "Read", 0.8, _unpack),
)


def encrypted(peers: Peers, rounds: int) -> list[Measured]:
    """Each load by both listeners: how fast it is, and what CPU it costs the frontend."""
    folder, authority = peers.folder, Authority()
    cert, key = authority.server().write(folder)
    own, own_key = authority.client().write(folder, "client")
    ca, port = authority.write(folder), free_port()
    frontend = peers.frontend(
        OURS,
        f"tls://127.0.0.1:{port}?cert={cert}&key={key}&client-ca={ca}"
        "&tenant-header=x-holdfast-tenant",
    )
    ways: dict[str, Way] = {
        "holdfast": {"address": f"127.0.0.1:{port}", "ca": ca, "cert": own, "key": own_key},
        "plain": {"address": frontend.address},
    }
    digest = drive("write", size=HOT, **ways["plain"])["digests"][0]
    measured: list[Measured] = []
    for work in WORKS:
        runs: Mapping[str, Run] = {
            name: partial(_ran, work, way, digest) for name, way in ways.items()
        }
        found = interleave(rounds, runs)
        rate = Target(f"{work.name}, over mTLS", OTHER, f"{work.unit}s/s", work.ratio)
        measured += compare("holdfast", {"plain": rate}, found)
        spent = {name: [Ran(ran.cpu[FRONTEND]) for ran in each] for name, each in found.items()}
        name = f"the frontend's CPU for {work.name}, over mTLS"
        cost = Target(name, OTHER, f"ms per {work.unit}", bound="at most")
        measured += compare("holdfast", {"plain": cost}, spent)
    return measured


def _ran(work: Encrypted, way: Way, digest: str) -> Ran:
    return work.act(way, digest).ran
