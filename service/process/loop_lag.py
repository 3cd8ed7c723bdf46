"""How long the event loop keeps others waiting: a look at the clock, twice a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from holdfast.clocks import uptime
from holdfast.service.process.metrics import Metrics

PERIOD: Final = 0.5
"""Seconds between two looks."""
WINDOW: Final = 15.0
"""Seconds for which the longest wait is remembered at least, so that no scrape misses it; it is
remembered for twice as long at most."""


class LoopLag:
    """The longest time by which the loop was late."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Has seen no wait yet; `clock` is monotonic, in s."""
        self._clock = clock
        self._since = clock()
        self._now = self._before = 0.0
        self._due = float("inf")

    @property
    def seconds(self) -> float:
        """The longest wait within the last 15 s at least, and the last 30 s at most.

        It may be asked for in any thread: a loop that stands still can't note that itself.
        """
        now = self._clock()
        windows = (now - self._since) // WINDOW
        noted = max(self._now, self._before) if windows < 1 else self._now if windows < 2 else 0.0  # noqa: PLR2004 -- a wait is remembered for two
        return max(noted, now - self._due)

    def late(self, seconds: float) -> None:
        """Notes a wait."""
        self._move_on()
        self._now = max(self._now, seconds)

    def _move_on(self) -> None:
        windows = (self._clock() - self._since) // WINDOW
        if windows:
            self._before, self._now = (self._now if windows == 1 else 0.0), 0.0
            self._since += windows * WINDOW

    async def keep(self) -> None:
        """Looks at the clock until it is cancelled."""
        while True:
            self._due = self._clock() + PERIOD
            await asyncio.sleep(PERIOD)
            self.late(max(0.0, self._clock() - self._due))


def loop_lag(metrics: Metrics) -> LoopLag:
    """Adds the metric; its `keep` must run."""
    lag = LoopLag(uptime)
    metrics.gauge(
        "holdfast_loop_lag_seconds",
        "The longest time by which the event loop was late, within the last 15 to 30 s.",
        lambda: lag.seconds,
    )
    return lag
