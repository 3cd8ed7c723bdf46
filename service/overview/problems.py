"""The latest warnings and errors of this process's log, for those who look at the fleet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from structlog.typing import EventDict, WrappedLogger

from holdfast.overview import NAME, PROBLEMS, Problem
from holdfast.service.process.logs import cut

LEVELS = frozenset({"warning", "error", "critical"})


class Problems:
    """Keeps them, as the log has them: escaped and cut. Safe for many threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Keeps none yet.

        Args:
            now: returns the time, in s since 1970.
        """
        self._now = now
        self._kept: deque[Problem] = deque(maxlen=PROBLEMS)

    def note(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Keeps an event if it is a problem; passes on each, as a processor of structlog's does."""
        level = str(event.get("level", ""))
        if level in LEVELS:
            about = {
                name: cut(str(event.get(name, "")), NAME) for name in ("tenant", "ref", "digest")
            }
            reason = event.get("reason") or str(event.get("exception", "")).rpartition("\n")[2]
            self._kept.append(
                Problem(
                    at=self._now(),
                    level="warning" if level == "warning" else "error",
                    event=cut(str(event.get("event", "")), NAME),
                    reason=cut(str(reason), NAME),
                    **about,
                )
            )
        return event

    def latest(self) -> tuple[Problem, ...]:
        """Returns them, the latest first."""
        return tuple(self._kept)[::-1]
