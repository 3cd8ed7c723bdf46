"""One frontend under the same loads by two listeners: with certificates, and without TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.compare.loads import BLOB, HOT, INFOS, MIB, WORKERS, Done
from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave
from bench.compare.peers import OURS, Peers, drive
from tests.servers.authority import Authority
from tests.servers.process import free_port

OTHER: Final = "the same without TLS"
CALLS: Final = 10_000
LONG_READS: Final = 8
FRONTEND: Final = "frontend"

Way = Mapping[str, Any]
"""A listener: its address and, with TLS, the client's files."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the frontend has: a blob that its cache holds, and one that is far too large for it."""

    hot: str
    cold: str


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A load, its unit, and the share of the plain listener's rate that it must reach.

    None where the network, which is memory here, is what costs: TLS can't but show there.
    """

    name: str
    unit: str
    ratio: float | None
    act: Callable[[Way, Held], Done]


def _infos(way: Way, held: Held) -> Done:
    done = drive("info", digest=held.hot, count=CALLS, **way)
    return Done.of(done["count"], done)


def _infos_together(way: Way, held: Held) -> Done:
    done = drive("info", digest=held.hot, clients=WORKERS, connections=1, count=5 * INFOS, **way)
    return Done.of(done["count"], done)


def _writes(way: Way, _: Held) -> Done:
    return Done.of(BLOB / MIB, drive("write", size=BLOB, **way))


def _cold_reads(way: Way, held: Held) -> Done:
    return Done.of(BLOB / MIB, drive("read", digest=held.cold, size=BLOB, **way))


def _reads(way: Way, held: Held) -> Done:
    done = drive("read", digest=held.hot, size=HOT, count=LONG_READS, **way)
    return Done.of(LONG_READS * HOT / MIB, done)


def _unpack(way: Way, held: Held) -> Done:
    done = drive("unpack", digest=held.hot, **way)
    return Done.of(done["count"], done)


WORKS: Final = (
    Encrypted("Info, hot, one after another", "call", 0.9, _infos),
    Encrypted("Info, hot, 64 at once", "call", 0.9, _infos_together),
    Encrypted("WRITE of 1 MiB, in lock-step", "MiB", 0.8, _writes),
    Encrypted("a cold Read of 256 MiB", "MiB", 0.8, _cold_reads),
    Encrypted("Read of 32 KiB, hot", "Read", 0.8, _unpack),
    Encrypted("a long Read, hot", "MiB", None, _reads),
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
    hot, cold = (drive("write", size=size, **ways["plain"]) for size in (HOT, BLOB))
    held = Held(hot["digests"][0], cold["digests"][0])
    measured: list[Measured] = []
    for work in WORKS:
        runs: Mapping[str, Run] = {
            name: partial(_ran, work, way, held) for name, way in ways.items()
        }
        found = interleave(rounds, runs)
        rate = Target(f"{work.name}, over mTLS", OTHER, f"{work.unit}s/s", work.ratio)
        measured += compare("holdfast", {"plain": rate}, found)
        spent = {name: [Ran(ran.cpu[FRONTEND]) for ran in each] for name, each in found.items()}
        name = f"the frontend's CPU for {work.name}, over mTLS"
        cost = Target(name, OTHER, f"ms per {work.unit}", bound="at most")
        measured += compare("holdfast", {"plain": cost}, spent)
    return measured


def _ran(work: Encrypted, way: Way, held: Held) -> Ran:
    return work.act(way, held).ran
