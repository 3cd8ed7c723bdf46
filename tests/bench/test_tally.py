"""How calls are counted, whose durations take memory that doesn't grow with their number."""

from __future__ import annotations

import json
import random

import pytest

from bench.fleet.tally import Durations, Tally
from bench.tables import table


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_quantile_is_right_to_a_twentieth(share: float) -> None:
    """It is never less than the duration itself, and at most a twentieth more."""
    chance = random.Random(4)  # noqa: S311 -- durations
    seconds = sorted(chance.expovariate(30) for _ in range(1000))
    durations = Durations()
    for one in seconds:
        durations.add(one)
    exact = seconds[int(share * 1000) - 1]
    assert exact <= durations.quantile(share) <= 1.06 * exact
    assert durations.number == 1000
    assert len(durations.buckets) < 300


def test_no_time_at_all() -> None:
    """A clock that stands still breaks nothing, and without calls there is no duration."""
    durations = Durations()
    assert durations.quantile(0.5) == 0
    durations.add(0.0)
    assert durations.quantile(0.5) == pytest.approx(1e-6, rel=0.06)


def test_processes_add_up() -> None:
    """What several processes have counted is the sum, through JSON."""
    whole, other = Tally(), Tally()
    for tally in (whole, other):
        tally.add("Info", "OK", 0.010)
        tally.add("Read", "OK", 0.002)
    other.add("Info", "NOT_FOUND", 0.020)
    whole.join(json.loads(json.dumps(other.encode())))
    assert whole.number("Info", "OK") == whole.number("Read", "OK") == 2
    assert whole.number("Info", "NOT_FOUND") == 1
    assert whole.number("Abort", "OK") == 0
    assert [(call, code) for call, code, _ in whole.items()] == [
        ("Info", "NOT_FOUND"),
        ("Info", "OK"),
        ("Read", "OK"),
    ]


def test_a_table_is_readable_as_it_is() -> None:
    """All lines are as long as each other."""
    lines = table(("a", "long head"), [("longer cell", 1), (2.5, "x")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("| -----------")
