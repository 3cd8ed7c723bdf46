"""Readers of one blob at once keep together, so that a block is fetched once for all of them.

A reader that is further ahead of another than the cache holds would have its blocks dropped
before the other gets there, and fetched again. So it waits for those just behind that move; not for
one that stands still, nor for one whose blocks are gone already, and never for long: it is
slowed by a fifth at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

REACH: Final = 8
"""Blocks by which a reader falls behind until it isn't waited for any more."""
MOVING: Final = 1.0
"""Seconds without a step after which a reader is no longer waited for."""
GRACE: Final = 0.5
"""Seconds that a reader may wait in all, beside its share."""
SHARE: Final = 0.25
"""Seconds that it may wait for each second since it began."""


class Reading:
    """One reader of a blob: where it is, and how long it has waited."""

    __slots__ = ("_group", "begun", "index", "moved", "waited")

    def __init__(self, group: _Group, index: int, now: float) -> None:
        self._group = group
        self.begun = self.moved = now
        self.index = index
        self.waited = 0.0

    async def step(self, index: int) -> None:
        """Comes to a block; returns when it may be fetched."""
        await self._group.step(self, index)


class _Group:
    """The readers of one blob."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._step = asyncio.Event()
        self.readings: set[Reading] = set()

    async def step(self, reading: Reading, index: int) -> None:
        reading.index, reading.moved = index, self._pace.now()
        self.moved()
        while self._far_ahead(reading):
            began = self._pace.now()
            left = GRACE + SHARE * (began - reading.begun) - reading.waited
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, MOVING)):
                    await self._step.wait()
            reading.moved = self._pace.now()  # it only waits: those ahead of it may wait for it
            reading.waited += reading.moved - began

    def _far_ahead(self, reading: Reading) -> bool:
        if len(self.readings) == 1:
            return False
        nearest, moving = reading.index - self._pace.room(), self._pace.now() - MOVING
        return any(
            nearest - REACH <= one.index < nearest and one.moved > moving for one in self.readings
        )

    def moved(self) -> None:
        """Wakes those who wait: somebody made a step, or has gone."""
        self._step.set()
        self._step = asyncio.Event()


class Pace:
    """All readers of a frontend."""

    def __init__(self, blocks: int, clock: Callable[[], float]) -> None:
        """Nobody reads.

        Args:
            blocks: how many the cache holds, beside those that are read ahead.
            clock: monotonic, in s.
        """
        self._blocks = blocks
        self._clock = clock
        self._groups: dict[str, _Group] = {}

    def now(self) -> float:
        """The time, in s of a monotonic clock."""
        return self._clock()

    def room(self) -> int:
        """Blocks that readers of one blob may be apart: what all blobs being read share."""
        return max(1, self._blocks // max(1, len(self._groups)))

    @contextmanager
    def reading(self, data_key: str, index: int) -> Iterator[Reading]:
        """One more reader of a blob, who begins at block `index`, until the block is left."""
        group = self._groups.setdefault(data_key, _Group(self))
        reading = Reading(group, index, self._clock())
        group.readings.add(reading)
        try:
            yield reading
        finally:
            group.readings.discard(reading)
            group.moved()
            if not group.readings:
                del self._groups[data_key]
