"""What calls ended with, and how long they took, in memory that doesn't grow with their number."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

STEPS: Final = 20
"""Buckets for each factor of e: a quantile is right to a twentieth of its value."""
SHORTEST: Final = 1e-6
"""Seconds."""


@dataclass(slots=True)
class Durations:
    """How long calls took, in buckets that grow with their bound."""

    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.buckets[math.ceil(STEPS * math.log(max(seconds, SHORTEST)))] += 1

    @property
    def number(self) -> int:
        """How many there were."""
        return self.buckets.total()

    def quantile(self, share: float) -> float:
        """The seconds within which a share of them ended; 0 if there were none."""
        left = share * self.number
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return math.exp(bucket / STEPS)
        return 0.0


class Tally:
    """Calls by what they were and what they ended with."""

    def __init__(self) -> None:
        self._calls: defaultdict[tuple[str, str], Durations] = defaultdict(Durations)

    def add(self, call: str, code: str, seconds: float) -> None:
        """Counts a call."""
        self._calls[call, code].add(seconds)

    def items(self) -> Iterator[tuple[str, str, Durations]]:
        """Each call and code that occurred, in order."""
        for (call, code), durations in sorted(self._calls.items()):
            yield call, code, durations

    def number(self, call: str, code: str) -> int:
        """How many calls ended with a code."""
        return self._calls[call, code].number if (call, code) in self._calls else 0

    def codes(self) -> set[tuple[str, str]]:
        """What occurred."""
        return set(self._calls)

    def encode(self) -> list[Any]:
        """As JSON has it, for another process."""
        return [[call, code, list(found.buckets.items())] for call, code, found in self.items()]

    def join(self, encoded: list[Any]) -> None:
        """Adds what another process has encoded."""
        for call, code, buckets in encoded:
            self._calls[call, code].buckets.update(dict(buckets))
