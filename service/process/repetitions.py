"""Bounds how often the log repeats one event, so that a problem isn't a line for each try.

event → one of its allowance's lines → written, with how many were omitted before it
└ none is left → counted

An event has an allowance for each thing of ours that it is about: a store that comes and goes
doesn't hide that Redis does, nor one bug another.
"""

from __future__ import annotations

import sys
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
APART: Final = ("backend", "doing", "error", "file", "frontend", "kind", "listener", "rpc")
"""Fields that say what an event is about, in words that no client chooses."""
MOST: Final = 256
"""Allowances that are kept; further events have one for each text."""


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
        self._allowances: dict[tuple[object, ...], _Allowance] = {}

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
            allowance = self._allowance(event, now)
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

    def _allowance(self, event: EventDict, now: float) -> _Allowance:
        about = _about(event)
        found = self._allowances.get(about)
        if found is None:
            if len(self._allowances) >= MOST:
                self._forget(now)
            if len(self._allowances) >= MOST:
                about = (event["event"],)
            found = self._allowances.setdefault(about, _Allowance(BURST, now))
        return found

    def _forget(self, now: float) -> None:
        """Drops allowances that are full again: a new one is the same."""
        full = BURST / PER_SECOND
        self._allowances = {
            about: one
            for about, one in self._allowances.items()
            if one.omitted or now - one.at < full
        }


def _about(event: EventDict) -> tuple[object, ...]:
    """What two events have in common of which one needn't be told."""
    raised = event.get("exc_info")
    if raised is True:
        raised = sys.exception()
    return (
        event["event"],
        *(str(event.get(name, "")) for name in APART),
        type(raised).__name__,
    )
