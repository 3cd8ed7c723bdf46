"""The clock for ages and deadlines.

`time.monotonic` stops while a machine is suspended, and everybody else's clocks go on. With it, a
lease that has expired meanwhile would still seem valid, and data would seem younger than it is.
"""

from __future__ import annotations

import time


def uptime() -> float:
    """Seconds since a fixed moment, never set back, including the time of a suspended machine.

    Linux has CLOCK_BOOTTIME for that; elsewhere this is `time.monotonic`. A virtual machine that
    its host has paused may not notice it, so no guarantee may rest on this clock alone.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
