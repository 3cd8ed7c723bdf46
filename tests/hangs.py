"""Ends tests that hang where pytest-timeout can't end them: else they would hold up a run for good.

pytest-timeout raises its failure in a handler of SIGALRM. uvloop runs such a handler in a callback
of its own, reports what it raises, and continues to wait. So its loop is stopped, too, which fails
the test. Whatever doesn't end even so (a task that survives its cancellation, a call in C, the end
of a fixture after the test has failed) ends with its process, `GRACE` later: the stacks of all
threads are printed, xdist reports the test as failed, and continues in a new worker.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Generator
from types import FrameType
from typing import Protocol

import pytest

GRACE = 60.0
"""Seconds beyond its timeout after which a test ends with its process: longer than fixtures need to
end their servers on a busy machine."""
STDERR = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ else 2
"""Where stacks are printed: pytest takes the descriptor's place while a test runs."""


class Timeout(Protocol):
    """What pytest-timeout knows of a test's timeout."""

    timeout: float
    """In s."""


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(
    item: pytest.Item, settings: Timeout
) -> Generator[None, object, object]:
    """Has the loop stop when the time is over, and then the process end."""
    del item
    done = yield
    raises = signal.getsignal(signal.SIGALRM)
    if callable(raises):

        def stop(number: int, frame: FrameType | None) -> None:
            loop = asyncio._get_running_loop()
            if loop is not None and type(loop).__module__.startswith("uvloop"):
                loop.stop()
            raises(number, frame)

        signal.signal(signal.SIGALRM, stop)
    _end_process_in(settings.timeout + GRACE)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Lets the process live if the test has ended; not before its fixtures have, too."""
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Bounds the end of fixtures after a failure, at which all other timers are cancelled."""
    if isinstance(node, pytest.Item):
        _end_process_in(GRACE)


def _end_process_in(seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)
