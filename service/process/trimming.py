"""Gives memory back to the system when a burst is over.

What was freed stays with the process, as far as the C library's heaps are in pieces: after a
few hundred Reads had been stopped and given up, half a GiB for as long as it ran. So what
messages and buffers take is looked at now and then, and when most of the largest amount is gone
the heaps are trimmed. A steady load never gets there: it would only ask for the memory again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

INTERVAL: Final = 1.0
"""Seconds between two looks."""
BURST: Final = 16 * 2**20
"""Bytes of a burst that is worth it."""
GONE: Final = 4
"""A burst is over when less than this part of it is left."""

Sleep = Callable[[float], Awaitable[None]]


class Trimming:
    """Looks at what is taken, and trims when it has become little."""

    def __init__(self, taken: Callable[[], int], trim: Callable[[], object]) -> None:
        """Nothing was taken yet.

        Args:
            taken: bytes that messages and buffers have at the moment.
            trim: gives freed memory back; called in a thread.
        """
        self._taken = taken
        self._trim = trim
        self._most = 0

    async def look(self) -> None:
        """Trims if a burst is over."""
        taken = self._taken()
        self._most = max(self._most, taken)
        if self._most >= BURST and taken * GONE <= self._most:
            self._most = taken
            await asyncio.to_thread(self._trim)

    async def keep(self, sleep: Sleep = asyncio.sleep) -> None:
        """Looks for ever."""
        while True:
            await sleep(INTERVAL)
            await self.look()
