"""The requests to one backend, counted: what was asked, how it ended, and how long it took.

These are plain numbers, for metrics. What is counted is each attempt: if a request is sent twice,
there are two, and a retry with its cause.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from holdfast.durations import Durations

BOUNDS: Final = (0.002, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0)
"""Seconds: Redis answers within the first, S3 within the next ones. They are few, since each is a
series for each operation, and no wider where most requests are, because Prometheus believes that
what is in a bucket is spread evenly in it."""


class Outcome(StrEnum):
    """How a request ended, by the word that metrics use."""

    OK = "ok"
    ABSENT = "absent"
    """There is no such object or upload."""
    REFUSED = "refused"
    """A condition didn't hold."""
    DENIED = "denied"
    """The credentials don't allow it, or the clock is wrong."""
    THROTTLED = "throttled"
    """The backend asks for fewer requests."""
    FULL = "full"
    """The backend has no room."""
    FAILED = "failed"
    """It answered with another error."""
    UNANSWERED = "unanswered"
    """There was no answer in time, the connection was lost, or the backend can't answer now."""
    ABANDONED = "abandoned"
    """Whoever asked had left before the answer came."""


class RetryCause(StrEnum):
    """Why a request was sent again, besides the outcomes of the attempt before."""

    CHANGED = "changed"
    """Its bytes had changed on the way."""
    CUT = "cut"
    """The body of the reply broke off."""
    FOREIGN = "foreign"
    """The reply wasn't the backend's."""
    MOVED = "moved"
    """Another node of the cluster has the keys."""


@dataclass(slots=True)
class OperationCounts:
    """What became of the requests of one operation."""

    ended: Counter[Outcome] = field(default_factory=Counter)
    seconds: Durations = field(default_factory=lambda: Durations(BOUNDS))


def uncounted(_: Outcome | RetryCause) -> None:
    """Counts no retry."""


class RequestCounts:
    """The requests to one backend. Safe for many threads."""

    def __init__(self) -> None:
        """Begins with nothing counted."""
        self._lock = threading.Lock()
        self._asked: dict[str, OperationCounts] = {}
        self._retried: Counter[str] = Counter()

    def ended(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Counts the end of a request."""
        with self._lock:
            asked = self._asked.get(operation)
            if asked is None:
                asked = self._asked[operation] = OperationCounts()
            asked.ended[outcome] += 1
            asked.seconds.add(seconds)

    def retried(self, cause: Outcome | RetryCause) -> None:
        """Counts a request that is sent again, by how the last attempt ended."""
        with self._lock:
            self._retried[cause] += 1

    def operations(self) -> Mapping[str, OperationCounts]:
        """Returns what was counted so far, by operation: a copy."""
        with self._lock:
            return {operation: _copy(asked) for operation, asked in self._asked.items()}

    def retries(self) -> Mapping[str, int]:
        """Returns how often requests were sent again, by cause: a copy."""
        with self._lock:
            return dict(self._retried)


def _copy(asked: OperationCounts) -> OperationCounts:
    seconds = Durations(BOUNDS)
    seconds.join(asked.seconds)
    return OperationCounts(Counter(asked.ended), seconds)
