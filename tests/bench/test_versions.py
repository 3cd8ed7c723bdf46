"""Two versions in turns: what counts as slower."""

from __future__ import annotations

import pytest

from bench.compare.pairs import Ran
from bench.versions import Result, Row


@pytest.mark.parametrize(("figures", "within"), [((9.7, 9.7, 1.0), True), ((9.6, 9.6, 20), False)])
def test_the_median_counts(figures: tuple[float, ...], within: bool) -> None:
    """A version is slower if the median of its rounds is, whatever one round says."""
    row = Row("info", "Info", [Ran(10.0)] * 3, [Ran(figure) for figure in figures])
    assert Result([row]).within_limits is within


def test_cpu_is_the_frontends() -> None:
    """The CPU beside a ratio is the frontend's, as the median of the rounds."""
    old = [Ran(1.0, {"frontend": cpu, "Redis": 7.0}) for cpu in (1.0, 2.0, 9.0)]
    assert Row("info", "Info", old, old).cpu == (2.0, 2.0)
