"""When a scrub stops marking: what finds damage everywhere is more likely ill than the store.

A store that answers 404 for an hour, the wrong bucket under the right records, or bad memory
look like damage, and twice. So no more than a few of the records looked at last are marked,
whatever was found of them. Somebody looks into it, and says `--accept`, or runs the scrub
again when the trouble is over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from holdfast.service.scrub.abreast import Stopped

MOST: Final = 10
"""Records that are marked among the last `AMONG`: 1 %, and in a smaller store as many. Disks
lose single objects; what loses more at once wants somebody to look at it."""
AMONG: Final = 1000
"""Records looked at last."""


class Braked(Stopped):
    """Too much was damaged: nothing more is marked without somebody's word."""


class Brake:
    """Counts marks, and says when there are too many. Safe for many threads."""

    def __init__(self, looked_at: Callable[[], int], marks: Iterable[int], *, off: bool) -> None:
        """Takes over the marks of the pass so far.

        Args:
            looked_at: how many records this pass has looked at.
            marks: at which of them it has marked one.
            off: somebody has accepted whatever is found.
        """
        self._looked_at = looked_at
        self._marks = deque(marks)
        self._off = off
        self._lock = threading.Lock()

    @property
    def marks(self) -> list[int]:
        """At which records of the pass the last marks were made."""
        with self._lock:
            return list(self._marks)

    def check(self) -> None:
        """Counts a mark that is about to be made.

        Raises:
            Braked: it mustn't be made.
        """
        with self._lock:
            now = self._looked_at()
            while self._marks and now - self._marks[0] >= AMONG:
                self._marks.popleft()
            if self._off:
                return
            if len(self._marks) >= MOST:
                raise Braked(
                    f"more than {MOST} of the last {min(now, AMONG):,} records are damaged, so no "
                    "more are marked: see whether this is the right bucket, whether the store is "
                    "well, and this machine's memory. Then run the scrub again: it goes on where "
                    "it stopped; with --accept if the damage is real"
                )
            self._marks.append(now)
