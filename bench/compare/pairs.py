"""Ratios of runs that take turns, with their spread, held against a target."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """What a ratio of ours to a peer's figure must be.

    Attributes:
        name: what is measured.
        peer: whose figure it is held against.
        bound: "at least" or "at most" `ratio`.
        unit: of both figures.
    """

    name: str
    peer: str
    bound: Literal["at least", "at most"]
    ratio: float
    unit: str


@dataclass(frozen=True)
class Measured:
    """A target and what was measured: one ratio per round."""

    target: Target
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

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
        """Whether the median reaches the target."""
        if self.target.bound == "at least":
            return self.ratio >= self.target.ratio
        return self.ratio <= self.target.ratio

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.target.name,
            "peer": self.target.peer,
            "bound": self.target.bound,
            "target": self.target.ratio,
            "unit": self.target.unit,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "ours": list(self.ours),
            "theirs": list(self.theirs),
            "reached": self.reached,
        }


Run = Callable[[], float]
"""One run; its figure in the target's unit."""


def interleave(rounds: int, runs: Mapping[str, Run]) -> dict[str, list[float]]:
    """Runs all of them in turn, `rounds` times; every other round goes backwards.

    A first round isn't counted: it warms connections, caches and code.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(-1, rounds):
        order = list(runs)[:: 1 if number % 2 == 0 else -1]
        for name in order:
            figure = runs[name]()
            if number >= 0:
                found[name].append(figure)
    return found


def compare(
    ours: str, targets: Mapping[str, Target], figures: Mapping[str, list[float]]
) -> list[Measured]:
    """Our figures against those of each peer that has a target."""
    return [
        Measured(target, tuple(figures[ours]), tuple(figures[peer]))
        for peer, target in targets.items()
    ]
