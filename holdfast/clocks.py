"""The clock for ages and deadlines.

`time.monotonic` stops while a machine is suspended, and everybody else's clocks continue. With
it, a lease that has expired meanwhile would still seem valid, and data would seem younger than it
is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final


def best() -> Callable[[], float]:
    """The best clock of this system: on Linux CLOCK_BOOTTIME, elsewhere `time.monotonic`."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic


uptime: Final = best()
"""Seconds since a fixed moment, never set back, including the time of a suspended machine.

A virtual machine that its host has paused may not notice it, so no guarantee may rest on this clock
alone. It is no function of ours, because some requests ask for the time a dozen times.
"""
