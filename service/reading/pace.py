"""Keeps concurrent readers of one blob together, so that a block is fetched once for all of them.

If a reader were ahead of another by more than the cache holds, its blocks would be evicted before
the other needs them, and fetched again. So it waits for moving readers just behind it. It doesn't
wait for a reader that has stopped, nor for one whose blocks have been evicted already, and never
for long: it is slowed by a fifth at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

REACH: Final = 8
"""Blocks, beyond what the cache holds, by which a reader may be behind and still be waited for."""
MOVING: Final = 1.0
"""Seconds without a step after which others no longer wait for a reader."""
GRACE: Final = 0.5
"""Seconds that a reader may wait in all, in addition to its share."""
SHARE: Final = 0.25
"""Seconds that a reader may wait for each second since it began."""


class PacedReader:
    """One reader of a blob: its position, and how long it has waited."""

    __slots__ = ("_group", "begun", "index", "moved", "waited")

    def __init__(self, group: _Group, index: int, now: float) -> None:
        self._group = group
        self.begun = self.moved = now
        self.index = index
        self.waited = 0.0

    async def step(self, index: int) -> None:
        """Moves to a block; returns once the block may be fetched."""
        await self._group.step(self, index)


class _Group:
    """The readers of one blob."""

    def __init__(self, pace: ReaderPace) -> None:
        self._pace = pace
        self._step = asyncio.Event()
        self.readings: set[PacedReader] = set()

    async def step(self, reading: PacedReader, index: int) -> None:
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
            # It only waits, so it counts as moving: readers ahead may wait for it.
            reading.moved = self._pace.now()
            reading.waited += reading.moved - began

    def _far_ahead(self, reading: PacedReader) -> bool:
        if len(self.readings) == 1:
            return False
        nearest, moving = reading.index - self._pace.room(), self._pace.now() - MOVING
        return any(
            nearest - REACH <= one.index < nearest and one.moved > moving for one in self.readings
        )

    def moved(self) -> None:
        """Wakes the readers that wait, because one has moved or left."""
        self._step.set()
        self._step = asyncio.Event()


class ReaderPace:
    """All readers of a frontend."""

    def __init__(self, blocks: int, clock: Callable[[], float]) -> None:
        """Begins without readers.

        Args:
            blocks: how many blocks the cache holds, without those that are read ahead.
            clock: monotonic, in s.
        """
        self._blocks = blocks
        self._clock = clock
        self._groups: dict[str, _Group] = {}

    def now(self) -> float:
        """Returns the time, in s of a monotonic clock."""
        return self._clock()

    def room(self) -> int:
        """Returns by how many blocks readers of one blob may be apart: its share of the cache."""
        return max(1, self._blocks // max(1, len(self._groups)))

    @contextmanager
    def reading(self, data_key: str, index: int) -> Iterator[PacedReader]:
        """Adds a reader of a blob, which begins at block `index`, for the body of the `with`."""
        group = self._groups.get(data_key)
        if group is None:
            group = self._groups[data_key] = _Group(self)
        reading = PacedReader(group, index, self._clock())
        group.readings.add(reading)
        try:
            yield reading
        finally:
            group.readings.discard(reading)
            group.moved()
            if not group.readings:
                del self._groups[data_key]
