"""What is counted of the requests to a backend."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from holdfast.backend import Backend
from holdfast.errors import Aborted, PermissionDenied, ResourceExhausted, Unavailable
from holdfast.request_counts import BOUNDS, Outcome, RequestCounts


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.OK),
        (Unavailable("away"), Outcome.UNANSWERED),
        (PermissionDenied("no"), Outcome.DENIED),
        (ResourceExhausted("full"), Outcome.FULL),
        (Aborted("something else"), Outcome.FAILED),
        (ValueError("a bug"), Outcome.FAILED),
        (asyncio.CancelledError(), Outcome.ABANDONED),
    ],
)
def test_a_call_is_counted_however_it_ends(error: BaseException | None, outcome: Outcome) -> None:
    """Each call to a backend is one with its outcome and its duration, a cancelled one too."""
    clock = Clock()
    backend = Backend("Redis", clock, lambda _: None)

    def call() -> None:
        with backend.asked(1.0, "hold"):
            clock.now += 0.05
            if error:
                raise error

    with pytest.raises(type(error)) if error else nullcontext():
        call()
    asked = backend.request_counts.operations()["hold"]
    assert asked.ended == {outcome: 1}
    assert asked.seconds.sum == pytest.approx(0.05)


def test_durations_are_counted_by_their_bounds() -> None:
    """A duration is in the first bucket whose bound it doesn't exceed."""
    counts = RequestCounts()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.001, BOUNDS[-1] + 1.0):
        counts.ended("get", Outcome.OK, seconds)
    found = counts.operations()["get"].seconds.counts
    assert found == [2, 1, *([0] * (len(BOUNDS) - 2)), 1]


def test_what_was_told_doesnt_change() -> None:
    """What a scrape has got is a copy."""
    counts = RequestCounts()
    counts.ended("get", Outcome.OK, 0.1)
    asked, retries = counts.operations(), counts.retries()
    counts.ended("get", Outcome.OK, 0.1)
    counts.retried(Outcome.FAILED)
    assert asked["get"].ended == {Outcome.OK: 1}
    assert asked["get"].seconds.sum == pytest.approx(0.1)
    assert retries == {}
