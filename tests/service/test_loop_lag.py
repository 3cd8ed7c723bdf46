"""The event loop's lag."""

from __future__ import annotations

import asyncio

from holdfast.service.process.loop_lag import PERIOD, WINDOW, LoopLag
from tests.coordination.fleet import Clock


def test_a_wait_is_remembered_until_scrapers_have_seen_it() -> None:
    """The longest wait is shown for 15 s at least, and for 30 s at most."""
    clock = Clock()
    lag = LoopLag(clock)
    clock.now += WINDOW - 1.0
    lag.late(0.7)
    lag.late(0.2)
    assert lag.seconds == 0.7
    clock.now += WINDOW
    lag.late(0.1)
    assert lag.seconds == 0.7
    clock.now += 1.0
    assert lag.seconds == 0.1
    clock.now += 10 * WINDOW
    assert lag.seconds == 0.0


async def test_a_wait_that_lasts() -> None:
    """A loop that stands still is seen while it does, however long, by whoever asks elsewhere."""
    clock = Clock()
    lag = LoopLag(clock)
    keeping = asyncio.create_task(lag.keep())
    await asyncio.sleep(0)
    clock.now += PERIOD / 2
    assert lag.seconds == 0.0
    clock.now += PERIOD / 2
    for _ in range(5):
        clock.now += WINDOW
        assert lag.seconds >= WINDOW
    assert lag.seconds == 5 * WINDOW
    keeping.cancel()
