"""Where a fault strikes: one point of a flow, and what happens there.

A request is identified by its kind (`put blobs`, `freeze`) and by its number among those of
its kind, so that concurrent requests don't swap places between two runs.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

EVERYTHING = "gone"
"""The fault after which no request is answered until the plan is lifted."""


@dataclass(frozen=True, slots=True)
class Point:
    """The `ordinal`-th request of a kind, from 1."""

    kind: str
    ordinal: int

    def __str__(self) -> str:
        return f"{self.kind} #{self.ordinal}"


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault at a point: `times` requests of the kind in a row are struck."""

    point: Point
    fault: str
    times: int = 1

    def __str__(self) -> str:
        return f"{self.fault}{'' if self.times == 1 else f' x{self.times}'} at {self.point}"


class Plan:
    """Counts requests and decides which are struck. Safe for many threads.

    Nothing is counted before `arm` and after `lift`: preparation and checks aren't part of the
    flow.
    """

    def __init__(self, strike: Strike | None = None) -> None:
        self._strike = strike
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._armed = False
        self._late: list[Callable[[], object]] = []
        self.points: list[Point] = []
        self.fired = 0

    @property
    def disturbs(self) -> bool:
        """Whether it strikes any request."""
        return self._strike is not None

    def arm(self) -> None:
        """Begins the flow."""
        self._armed = True

    def lift(self) -> None:
        """Ends the flow: no more faults."""
        self._armed = False

    def take(self, kind: str) -> str:
        """Counts a request; returns the fault that strikes it, or ""."""
        with self._lock:
            if not self._armed:
                return ""
            self._seen[kind] += 1
            self.points.append(Point(kind, self._seen[kind]))
            strike = self._strike
            if strike is None:
                return ""
            gone = strike.fault == EVERYTHING and self.fired > 0
            first = strike.point.ordinal
            struck = kind == strike.point.kind and (
                first <= self._seen[kind] < first + strike.times
            )
            if not (gone or struck):
                return ""
            self.fired += 1
            return strike.fault

    def keep(self, late: Callable[[], object]) -> None:
        """Keeps a request that takes effect after everybody has given it up."""
        with self._lock:
            self._late.append(late)

    def take_late(self) -> list[Callable[[], object]]:
        """Returns the requests that were kept, and forgets them."""
        with self._lock:
            late, self._late = self._late, []
        return late
