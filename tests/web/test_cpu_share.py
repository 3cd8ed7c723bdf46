"""The HTTP port: how much CPU it takes from RPCs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from holdfast.service.web.cpu_share import CREDIT, LONGEST, SHARE, CpuShare


@dataclass
class Thread:
    """A thread whose time, and whose CPU, pass as a test says."""

    now: float = 0.0
    used: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def pause(self, seconds: float) -> None:
        """Lets time pass without using CPU."""
        self.pauses.append(seconds)
        self.now += seconds

    def work(self, seconds: float) -> None:
        """Uses CPU."""
        self.now += seconds
        self.used += seconds

    def share(self) -> CpuShare:
        """Its share."""
        return CpuShare(lambda: self.used, lambda: self.now, self.pause)


def test_a_thread_that_does_little() -> None:
    """A thread that uses less than its share, or more for a moment, never pauses."""
    thread = Thread()
    share = thread.share()
    thread.work(CREDIT)
    share.rest()
    for _ in range(1000):
        thread.work(0.01)
        thread.now += 0.01 / SHARE
        share.rest()
    assert not thread.pauses


def test_a_thread_that_works_without_end() -> None:
    """A thread that always has work gets its share in the long run, by pauses that are short."""
    thread = Thread()
    share = thread.share()
    while thread.now < 100:
        thread.work(0.005)
        share.rest()
    assert thread.used == pytest.approx(CREDIT + SHARE * thread.now, rel=0.02)
    assert max(thread.pauses) <= LONGEST


def test_idleness_earns_no_more_than_the_credit() -> None:
    """After an idle hour a thread has its credit, and no more."""
    thread = Thread()
    share = thread.share()
    thread.now += 3600
    share.rest()
    thread.work(2 * CREDIT)
    share.rest()
    assert len(thread.pauses) == 1
