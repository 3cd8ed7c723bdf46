"""What this frontend has done within the last hour: a ring of samples, in memory alone.

It is shown while Redis, which adds up what the whole fleet has done, can't be asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from holdfast.overview import FrontendFigures
from holdfast.service.overview.hour import Sample, rates_of

PERIOD: Final = 10.0
"""Seconds between two samples; those of the fleet are as long."""
HOUR: Final = round(3600 / PERIOD)
"""Samples that are kept; each takes some 500 bytes."""


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
        self._samples.append(Sample(figures.at, rates_of(figures)))
