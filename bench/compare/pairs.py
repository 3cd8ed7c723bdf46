"""Ratios of runs that take turns, with their spread, held against a target."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Target:
    """What a ratio of ours to a peer's figure must be.

    Attributes:
        name: what is measured.
        peer: whose figure it is held against.
        unit: of both figures.
        ratio: what it must be; None where it isn't a target, but shows what is possible.
        bound: "at least" or "at most" `ratio`.
        ours: whose figure is held against the peer's.
    """

    name: str
    peer: str
    unit: str
    ratio: float | None = None
    bound: Bound = "at least"
    ours: str = "Holdfast"


@dataclass(frozen=True, slots=True)
class Ran:
    """One run.

    Attributes:
        figure: in the target's unit.
        cpu: milliseconds per unit of work, by program; empty where that says nothing.
    """

    figure: float
    cpu: Mapping[str, float] = field(default_factory=dict)


Run = Callable[[], Ran]


@dataclass(frozen=True)
class Measured:
    """A target and what was measured: one ratio per round; CPU as the medians of all rounds."""

    target: Target
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    our_cpu: Mapping[str, float] = field(default_factory=dict)
    their_cpu: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Of each round."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool:
        """Whether the median reaches the target; always, where there is none."""
        if self.target.ratio is None:
            return True
        if self.target.bound == "at least":
            return self.ratio >= self.target.ratio
        return self.ratio <= self.target.ratio

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self.target),
            "measured": self.ratio,
            "reached": self.reached,
            "ratios": self.ratios,
            "figures": {"ours": list(self.ours), "theirs": list(self.theirs)},
            "cpu_ms": {"ours": dict(self.our_cpu), "theirs": dict(self.their_cpu)},
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Measured:
        """What `as_dict` gave."""
        target = Target(**{name: found[name] for name in Target.__dataclass_fields__})
        figures, cpu = found["figures"], found["cpu_ms"]
        return cls(
            target, tuple(figures["ours"]), tuple(figures["theirs"]), cpu["ours"], cpu["theirs"]
        )


def interleave(rounds: int, runs: Mapping[str, Run]) -> dict[str, list[Ran]]:
    """Runs all of them in turn, `rounds` times; every other round goes backwards.

    A first round isn't counted: it warms connections, caches and code.
    """
    found: dict[str, list[Ran]] = {name: [] for name in runs}
    for number in range(-1, rounds):
        order = list(runs)[:: 1 if number % 2 == 0 else -1]
        for name in order:
            ran = runs[name]()
            if number >= 0:
                found[name].append(ran)
    return found


def compare(
    ours: str, targets: Mapping[str, Target], runs: Mapping[str, Sequence[Ran]]
) -> list[Measured]:
    """Our figures against those of each peer that has a target."""
    return [
        Measured(
            target,
            tuple(ran.figure for ran in runs[ours]),
            tuple(ran.figure for ran in runs[peer]),
            middle_cpu(runs[ours]),
            middle_cpu(runs[peer]),
        )
        for peer, target in targets.items()
    ]


def with_limit(
    target: Target, peer: str, limit: str, named: str, runs: Mapping[str, Sequence[Ran]]
) -> list[Measured]:
    """A target, and what stands between: the limit beside the peer, and ours beside the limit.

    Args:
        target: of Holdfast's runs, which are named "holdfast".
        peer: the runs that it is held against.
        limit: the runs of something that does no more than what can't be left out.
        named: what to call that.
        runs: of all three.
    """
    possible = replace(target, ratio=None, ours=named)
    beside = replace(target, ratio=None, peer=named)
    return [
        *compare("holdfast", {peer: target}, runs),
        *compare(limit, {peer: possible}, runs),
        *compare("holdfast", {limit: beside}, runs),
    ]


def middle_cpu(runs: Sequence[Ran]) -> dict[str, float]:
    """The median of each program's milliseconds per unit."""
    names = dict.fromkeys(name for ran in runs for name in ran.cpu)
    return {name: statistics.median(ran.cpu.get(name, 0.0) for ran in runs) for name in names}


def limits_of(row: Measured, rows: Sequence[Measured]) -> list[Measured]:
    """What others reach, of the same work beside the same peer."""
    return [
        one
        for one in rows
        if (one.target.name, one.target.peer) == (row.target.name, row.target.peer)
        and one.target.ours != row.target.ours
    ]
