"""Returns memory to the system when a burst is over.

The process keeps freed memory as far as the C library's heaps are fragmented: after a few hundred
Reads had been stopped and given up, it kept half a GiB for as long as it ran. So the frontend
checks regularly how much messages and buffers use, and trims the heaps once most of the peak is
gone. A steady load never causes a trim, which would be useless: it needs the memory again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

INTERVAL: Final = 1.0
"""Seconds between two checks."""
BURST: Final = 16 * 2**20
"""Bytes of the smallest burst after which it pays to trim."""
GONE: Final = 4
"""A burst is over when no more than one part in this many of it is left."""

Sleep = Callable[[float], Awaitable[None]]


class Trimming:
    """Watches how much memory is in use, and trims the heaps when a burst is over."""

    def __init__(self, taken: Callable[[], int], trim: Callable[[], object]) -> None:
        """Begins with no burst.

        Args:
            taken: returns the bytes that messages and buffers use at the moment.
            trim: returns freed memory to the system; called in a thread.
        """
        self._taken = taken
        self._trim = trim
        self._most = 0

    async def look(self) -> None:
        """Checks once, and trims if a burst is over."""
        taken = self._taken()
        self._most = max(self._most, taken)
        if self._most >= BURST and taken * GONE <= self._most:
            self._most = taken
            await asyncio.to_thread(self._trim)

    async def keep(self, sleep: Sleep = asyncio.sleep) -> None:
        """Checks in a loop."""
        while True:
            await sleep(INTERVAL)
            await self.look()
