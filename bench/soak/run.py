"""The soak itself: load and faults for a while, then rest, then the last look."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.soak.actors import Actor, Plan
from bench.soak.chaos import SPARED, Chaos
from bench.soak.inspection import leftovers, settle, verify
from bench.soak.oracle import Oracle
from bench.soak.stage import Stage, Vitals
from bench.soak.troubles import Troubles, troubles
from holdfast.service.core import HASH_THREADS
from holdfast.service.settings import Settings

MIB = 2**20
ACTORS = {"writer": 6, "reader": 3, "adopter": 1, "labeller": 1, "deleter": 1, "lister": 1}
WARM_UP = 0.4
"""Part of the time after which nothing may grow any more."""
SAMPLE = 1.0
MORE_MEMORY = (1.25, 48 * MIB)
"""Memory at rest against the most that the warm-up took: a factor, and bytes."""
MORE_DESCRIPTORS = 24
MORE_THREADS = 8
POOLS = Settings.model_fields["threads"].default + HASH_THREADS
"""Threads that a frontend may begin for its pools."""
PATIENCE = 180.0
"""Seconds for actors to end what they are at, repeats included."""


@dataclass
class Result:
    """Counts, and what must be none: sizes in bytes, times in seconds."""

    seed: int
    backend: str
    seconds: float
    operations: dict[str, int]
    errors: dict[str, int]
    acknowledged_bytes: int
    read_bytes: int
    faults: dict[str, int]
    came_back: int
    left: dict[str, int]
    growth: dict[str, Any]
    violation_count: int
    violations: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def within_limits(self) -> bool:
        """Whether nothing was lost, left or grown."""
        return not self.violation_count and not self.trouble

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within_limits": self.within_limits}

    def text(self) -> str:
        """For people."""
        rows = [("seed", self.seed), ("backend", self.backend), ("seconds", round(self.seconds))]
        rows += [(f"done: {name}", count) for name, count in self.operations.items()]
        rows += [(f"failed: {name}", count) for name, count in self.errors.items()]
        rows += [
            ("acknowledged MiB", self.acknowledged_bytes // MIB),
            ("read and compared MiB", self.read_bytes // MIB),
        ]
        rows += [(f"fault: {name}", count) for name, count in self.faults.items()]
        rows += [(f"left: {name}", count) for name, count in self.left.items()]
        rows += [(f"growth: {name}", value) for name, value in self.growth.items()]
        rows += [
            ("brought back by a repeated call", self.came_back),
            ("violations", self.violation_count),
        ]
        lines = [f"{name:40} {value}" for name, value in rows]
        return "\n".join([*lines, *self.violations, *self.trouble])


class Watch(threading.Thread):
    """Looks at the frontend that isn't killed."""

    def __init__(self, stage: Stage, stop: threading.Event) -> None:
        super().__init__(name="watch", daemon=True)
        self._program = stage.frontends[SPARED]
        self._end = stop
        self.samples: list[Vitals] = []

    def run(self) -> None:
        """One look per second."""
        while not self._end.wait(SAMPLE):
            vitals = self._program.vitals()
            if vitals:
                self.samples.append(vitals)

    def growth(self, oracle: Oracle) -> dict[str, Any]:
        """Compares it at rest with the most that its warm-up took."""
        end, warm = self._program.vitals(), self.samples[: int(len(self.samples) * WARM_UP) or 1]
        if end is None or self._program.starts != 1:
            oracle.violation(f"{self._program.name} ended by itself")
            return {}
        memory = max(v.memory for v in warm)
        descriptors, threads = max(v.descriptors for v in warm), max(v.threads for v in warm)
        # A pool's threads are begun when all that there are hang: maybe long after the warm-up.
        pooled = min(v.threads for v in warm) + POOLS
        for what, found, limit in (
            ("bytes of memory", end.memory, int(memory * MORE_MEMORY[0]) + MORE_MEMORY[1]),
            ("descriptors", end.descriptors, descriptors + MORE_DESCRIPTORS),
            ("threads", end.threads, max(threads, pooled) + MORE_THREADS),
        ):
            if found > limit:
                oracle.violation(f"{self._program.name} has {found} {what}; limit {limit}")
        return {
            "memory MiB, warm and at the end": f"{memory // MIB} {end.memory // MIB}",
            "memory MiB at most": max(v.memory for v in self.samples) // MIB,
            "descriptors, warm and at the end": f"{descriptors} {end.descriptors}",
            "threads, warm and at the end": f"{threads} {end.threads}",
        }


def run(minutes: float, seed: int, backend: str, folder: Path | None) -> Result:
    """Runs a soak.

    Args:
        minutes: of load and faults; the look after it comes on top.
        seed: of what is written, who does what, and the faults.
        backend: `folder` or `minio`.
        folder: where everything goes; its logs stay if something was violated.
    """
    root = Path(tempfile.mkdtemp(prefix="hf-soak-", dir=folder))
    print(f"soak: seed {seed}, {minutes:g} minutes on {backend}, in {root}", flush=True)
    began, oracle, stage = time.monotonic(), Oracle(), Stage(root, backend, seed)
    try:
        stage.start()
        watch, hurting = _load(stage, oracle, minutes * 60, seed)
        stage.mend()
        settle(oracle, stage)
        verify(oracle, stage)
        left = leftovers(oracle, stage)
        growth = watch.growth(oracle)
        for program in stage.frontends:
            if program.end() != 0:
                oracle.violation(f"{program.name} didn't end well")
    finally:
        stage.close()
    result = Result(
        seed=seed,
        backend=backend,
        seconds=time.monotonic() - began,
        operations=dict(sorted(oracle.operations.items())),
        errors=dict(sorted(oracle.errors.items())),
        acknowledged_bytes=oracle.acknowledged_bytes,
        read_bytes=oracle.read_bytes,
        faults=dict(sorted(_faults(stage, hurting).items())),
        came_back=oracle.resurrected,
        left=left,
        growth=growth,
        violation_count=oracle.violation_count,
        violations=oracle.violations,
        trouble=[line for thread in hurting for line in thread.trouble],
    )
    if result.within_limits:
        shutil.rmtree(root)
    else:
        (root / "result.json").write_text(json.dumps(result.as_dict(), indent=2))
        print(f"logs are in {root}", flush=True)
    return result


Hurting = list[Chaos | Troubles]


def _faults(stage: Stage, hurting: Hurting) -> Counter[str]:
    """How often each fault struck: programs, views for a while, requests in those."""
    counts = sum((thread.counts for thread in hurting), Counter[str]())
    return counts + stage.views.counts() if stage.views else counts


def _load(stage: Stage, oracle: Oracle, seconds: float, seed: int) -> tuple[Watch, Hurting]:
    quiet, stop = threading.Event(), threading.Event()
    addresses = [f"127.0.0.1:{program.port}" for program in stage.frontends]
    plan = Plan(seed, addresses, oracle, stop, stage.misread)
    actors = [Actor(plan, kind, index) for kind, n in ACTORS.items() for index in range(n)]
    watch = Watch(stage, stop)
    hurting: Hurting = [Chaos(stage, seed, quiet), *troubles(stage, seed, quiet)]
    for thread in (*actors, watch, *hurting):
        thread.start()
    time.sleep(seconds)
    quiet.set()
    for thread in hurting:
        thread.join(PATIENCE)
    stage.mend()
    stop.set()
    deadline = time.monotonic() + PATIENCE
    for actor in actors:
        actor.join(max(0.0, deadline - time.monotonic()))
        if actor.is_alive():
            oracle.violation(f"{actor.name} hangs")
    return watch, hurting
