"""Frontends that differ in what they record and log, under the same load of hot Infos.

The collector takes everything and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from bench.compare.loads import HOT, INFOS, WORKERS, Done
from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave
from bench.compare.peers import Peers, drive
from tests.servers.otlp import receiver

FRONTEND: Final = "frontend"
LOAD: Final = "Info, hot, 64 at once"
TARGETS: Final[Mapping[str, tuple[str, float | None]]] = {
    "logged": ("with a line for each RPC, as far as `LOG_RPCS` allows", 1.02),
    "one in a hundred": ("with traces of 1 %", 1.05),
    "each": ("with traces of 100 %, of which 100 a second are recorded", None),
}
"""What is held against a frontend that logs no RPC and records nothing: the most CPU per Info."""


def traced(peers: Peers, rounds: int) -> list[Measured]:
    """What an Info costs a frontend, by what it tells of it."""
    with receiver() as collector:
        quiet, url = {"log_level": "info", "log_rpcs": 0}, collector.url
        servers = {
            "off": peers.frontend(**quiet).address,
            "logged": peers.frontend(log_level="info", log_rpcs=10).address,
            "one in a hundred": peers.frontend(**quiet, traces=url, traces_sampled=0.01).address,
            "each": peers.frontend(**quiet, traces=url, traces_sampled=1).address,
        }
        digest = drive("write", address=servers["off"], size=HOT)["digests"][0]
        runs: Mapping[str, Run] = {
            name: partial(_infos, address, digest) for name, address in servers.items()
        }
        found = interleave(rounds, runs)
    measured: list[Measured] = []
    for name, (told, most) in TARGETS.items():
        spent = {one: [Ran(ran.cpu[FRONTEND]) for ran in each] for one, each in found.items()}
        what = f"the frontend's CPU for {LOAD}, {told}"
        target = Target(what, "the same without", "ms per call", most, "at most")
        measured += compare(name, {"off": target}, spent)
    return measured


def _infos(address: str, digest: str) -> Ran:
    done = drive(
        "info", address=address, digest=digest, clients=WORKERS, connections=1, count=5 * INFOS
    )
    return Done.of(done["count"], done).ran
