"""Stops a scrub that finds damage everywhere: it is more likely at fault than the store.

A store that answers 404 for an hour, the wrong bucket under the right records, or bad memory all
look like damage, even at a second look. So the scrub marks only a few of the records that it looked
at last, and then stops. An operator looks into it, and then runs the scrub with `--accept`, or
again once the trouble is over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from holdfast.service.scrub.abreast import ScrubStopped

MOST: Final = 10
"""Most records that are marked among the last `AMONG`: 1 %, and as many in a smaller store. Disks
lose single objects; if more are lost at once, an operator must look into it."""
AMONG: Final = 1000
"""How many of the records that were looked at last are considered."""


class ScrubBraked(ScrubStopped):
    """Too much is damaged: nothing more is marked unless an operator accepts it."""


class MarkBrake:
    """Counts marks, and refuses further ones when there are too many. Safe for many threads."""

    def __init__(self, looked_at: Callable[[], int], marks: Iterable[int], *, off: bool) -> None:
        """Continues from the marks that the pass has made so far.

        Args:
            looked_at: returns how many records this pass has looked at.
            marks: that number at each mark so far.
            off: whether an operator has accepted all damage.
        """
        self._looked_at = looked_at
        self._marks = deque(marks)
        self._off = off
        self._lock = threading.Lock()

    @property
    def marks(self) -> list[int]:
        """How many records the pass had looked at, at each of the last marks."""
        with self._lock:
            return list(self._marks)

    def check(self) -> None:
        """Counts a mark that is about to be made.

        Raises:
            Braked: the mark must not be made.
        """
        with self._lock:
            now = self._looked_at()
            while self._marks and now - self._marks[0] >= AMONG:
                self._marks.popleft()
            if self._off:
                return
            if len(self._marks) >= MOST:
                raise ScrubBraked(
                    f"more than {MOST} of the last {min(now, AMONG):,} records are damaged, so no "
                    "more are marked: check whether this is the right bucket, whether the store "
                    "is well, and this machine's memory. Then run the scrub again, which continues "
                    "where this run stopped; give --accept if the damage is real"
                )
            self._marks.append(now)
