"""Bounds how often the log repeats one event, so that a problem isn't a line for each try.

event → one of its allowance's lines → written, with how many were omitted before it
└ none is left → counted
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

BURST: Final = 20.0
"""Lines of one event at once: more than a healthy process ever needs."""
PER_SECOND: Final = 0.1
"""Lines of one event per second in the long run."""
EACH_COUNTS: Final = frozenset(
    {"RPC ended", "damage found", "record restored; its bytes are intact"}
)
"""Events that aren't bounded here: the first one is elsewhere, and the others are what a scrub has
found, each about something else."""


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float
    omitted: int = 0


class Repetitions:
    """A processor that drops events beyond their allowance. Safe for many threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begins with full allowances; `clock` is monotonic, in s."""
        self._clock = clock
        self._lock = threading.Lock()
        self._allowances: dict[str, _Allowance] = {}

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Passes an event on.

        Raises:
            DropEvent: its like were logged too often.
        """
        text = event["event"]
        if text in EACH_COUNTS:
            return event
        with self._lock:
            now = self._clock()
            allowance = self._allowances.setdefault(text, _Allowance(BURST, now))
            gained = (now - allowance.at) * PER_SECOND
            allowance.left, allowance.at = min(BURST, allowance.left + gained), now
            if allowance.left < 1:
                allowance.omitted += 1
                raise structlog.DropEvent
            allowance.left -= 1
            omitted, allowance.omitted = allowance.omitted, 0
        if omitted:
            event["omitted"] = omitted
        return event
