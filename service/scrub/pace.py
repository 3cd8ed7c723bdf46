"""Limits how many bytes are read per second, over all threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ScrubRate:
    """A token bucket for one request: idle time isn't saved up. Safe for many threads."""

    def __init__(
        self, rate: float, clock: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        """Begins with a full bucket.

        Args:
            rate: bytes per second; 0: no limit.
            clock: monotonic, in s.
            wait: waits for the given seconds, or less if the scrub is told to stop.
        """
        self._rate = rate
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, count: int) -> None:
        """Waits until `count` bytes may be read."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now)
            self._free_at = begin + count / self._rate
        if begin > now:
            self._wait(begin - now)
