"""What this frontend has done within the last hour: a ring of samples, in memory alone.

The samples are this frontend's own, which cost no request. Those of all others are in their memory,
and on their pages: if each frontend asked for all figures all the time, Redis would have to send
each frontend's to each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.overview import CacheFigures, FrontendFigures

PERIOD: Final = 10.0
"""Seconds between two samples."""
HOUR: Final = round(3600 / PERIOD)
"""Samples that are kept; each takes some 200 bytes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one moment; rates are per second.

    Attributes:
        at: when, in s since 1970.
        read: bytes sent to readers.
        written: bytes received from writers.
        rpcs: RPCs that ended.
        errors: those among them that ended with an error.
        streams: write streams that were open.
        store: seconds of a request to the store, on average.
        redis: the same of Redis.
        hits: share of blocks that were found in the cache in memory.
    """

    at: float
    read: float
    written: float
    rpcs: float
    errors: float
    streams: float
    store: float
    redis: float
    hits: float


class History:
    """The samples of an hour, the oldest first."""

    def __init__(self, own: Callable[[], FrontendFigures | None]) -> None:
        """Begins empty.

        Args:
            own: returns this frontend's figures; None if there are none yet.
        """
        self._own = own
        self._samples: deque[Sample] = deque(maxlen=HOUR)

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples so far."""
        return tuple(self._samples)

    async def keep(self) -> None:
        """Takes samples for as long as the process serves."""
        while True:
            self.note()
            await asyncio.sleep(PERIOD)

    def note(self) -> None:
        """Takes a sample, unless there is none newer than the last."""
        figures = self._own()
        if figures is None or (self._samples and figures.at <= self._samples[-1].at):
            return
        seconds = {one.name: one.seconds for one in figures.backends}
        self._samples.append(
            Sample(
                figures.at,
                figures.read,
                figures.written,
                figures.rpcs,
                sum(one.rate for one in figures.errors),
                figures.streams,
                seconds.get("store", 0.0),
                seconds.get("redis", 0.0),
                share_found(figures.memory),
            )
        )


def share_found(cache: CacheFigures) -> float:
    """Returns the share of blocks that were found in a cache; 0 if none was looked for."""
    looked = cache.hits + cache.misses
    return cache.hits / looked if looked else 0.0
