"""The clock of ages and deadlines."""

from __future__ import annotations

import time

import pytest

from holdfast.clocks import best, uptime


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux's")
def test_a_suspended_machine_is_counted() -> None:
    """On Linux it is the clock that goes on while the machine is suspended."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= uptime() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, it is the monotonic clock."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert best() is time.monotonic
