"""Whether this process was paused for so long that even a sound request ran out of time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

TICK = 0.05
"""Seconds between two looks at the clock."""
LONG = 0.4
"""Seconds of delay from which a pause counts: half of the shortest timeout on the way to Redis or
S3."""


class Pauses:
    """Watches the loop's clock while the block runs."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._clock = asyncio.get_running_loop().time
        self._looked = self._clock()

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._look()

    def _look(self) -> None:
        now = self._clock()
        self._longest = max(self._longest, now - self._looked - TICK)
        self._looked = now

    @property
    def seen(self) -> bool:
        """Whether there was a long pause, including one that is just ending."""
        self._look()
        return self._longest >= LONG
