"""Durations, counted by how long they were: the numbers behind a histogram."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Durations:
    """How many durations were how long. Whoever adds to it from several threads takes a lock.

    Attributes:
        bounds: rising, in s; the i-th count is of durations up to the i-th bound.
        counts: one for each bound, and one for what is longer than all of them.
        sum: of all durations, in s.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begins empty."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> int:
        """Counts one duration; returns the index of its count."""
        at = bisect_left(self.bounds, seconds)
        self.counts[at] += 1
        self.sum += seconds
        return at

    def join(self, other: Durations) -> None:
        """Adds what others have counted, by the same bounds."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
