"""How much CPU the HTTP port may take from RPCs: it works in the same interpreter as they do.

Whoever reaches the port may ask without end, and each answer has the interpreter to itself for a
while. RPCs give it up at each system call, and would wait for it as often. So the port's thread
pauses once it has used more than its share. Probes, scrapers and people use far less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 0.25
"""The part of a core that the thread may use in the long run."""
CREDIT: Final = 1.0
"""Seconds of CPU that it may use at once."""
LONGEST: Final = 0.1
"""Seconds of the longest pause."""


class CpuShare:
    """The share of one thread, which alone uses this object."""

    def __init__(
        self,
        used: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.perf_counter,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begins with all of the credit; call it in the thread.

        Args:
            used: returns the CPU that the thread has used so far, in s.
            clock: in s, never set back.
            pause: blocks the thread for the given seconds.
        """
        self._used = used
        self._clock = clock
        self._pause = pause
        self._left = CREDIT
        self._before = used()
        self._at = clock()

    def rest(self) -> None:
        """Blocks for a moment if the thread has used more than its share."""
        used, now = self._used(), self._clock()
        earned = (now - self._at) * SHARE
        self._left = min(CREDIT, self._left + earned - (used - self._before))
        self._before, self._at = used, now
        if self._left < 0:
            self._pause(min(-self._left / SHARE, LONGEST))
