"""The clock by which ages and deadlines are told.

`time.monotonic` stands still while a machine is suspended, and everybody else's clocks go on:
a lease that ran out meanwhile would still be believed, and data would seem younger than it is.
"""

from __future__ import annotations

import time


def uptime() -> float:
    """Seconds since some moment, never set back, those of a suspended machine included.

    Linux has CLOCK_BOOTTIME for that; elsewhere it is `time.monotonic`. A virtual machine that
    its host paused may know nothing of it: nothing that must hold rests on this clock alone.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
