"""Pairs: turns, ratios, limits."""

from __future__ import annotations

import pytest

from bench.compare.pairs import Bound, Measured, Ran, Target, compare, interleave, with_limit
from bench.compare.pairs import limits_of as limits


def measured(bound: Bound, ratio: float | None, *ours: float) -> Measured:
    """Figures of ours, beside a peer that always has 10."""
    return Measured(Target("work", "peer", "MiB/s", ratio, bound), ours, (10.0,) * len(ours))


def test_members_take_turns() -> None:
    """Members of a pair run in turn, every other round backwards, and the first isn't counted."""
    order: list[str] = []
    figures = iter(range(100))

    def run(name: str) -> Ran:
        order.append(name)
        return Ran(next(figures))

    found = interleave(2, {"a": lambda: run("a"), "b": lambda: run("b")})
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert {name: [ran.figure for ran in runs] for name, runs in found.items()} == {
        "a": [2, 5],
        "b": [3, 4],
    }


@pytest.mark.parametrize(
    ("bound", "ratio", "reached"),
    [
        ("at least", 0.5, True),
        ("at least", 0.51, False),
        ("at most", 0.5, True),
        ("at most", 0.49, False),
        ("at least", None, True),
    ],
)
def test_the_median_is_held_against_the_target(
    bound: Bound, ratio: float | None, reached: bool
) -> None:
    """The median of the rounds' ratios decides, and a row without a target never falls short."""
    assert measured(bound, ratio, 1.0, 5.0, 9.0).reached is reached


def test_a_ratio_is_taken_per_round() -> None:
    """Each round's figures make one ratio, so that what slows a whole round falls out of it."""
    runs = {"us": [Ran(1.0), Ran(4.0)], "them": [Ran(2.0), Ran(8.0)]}
    [row] = compare("us", {"them": Target("work", "them", "MiB/s")}, runs)
    assert row.ratios == [0.5, 0.5]


def test_a_limit_stands_between() -> None:
    """A target with a limit tells what the limit reaches, and how near to that we are."""
    target = Target("work", "peer", "calls/s", 0.8)
    runs = {"holdfast": [Ran(3.0)], "peer": [Ran(10.0)], "empty": [Ran(6.0)]}
    rows = with_limit(target, "peer", "empty", "an empty server", runs)
    assert [(row.target.ours, row.target.peer, row.target.ratio, row.ratio) for row in rows] == [
        ("Holdfast", "peer", 0.8, 0.3),
        ("an empty server", "peer", None, 0.6),
        ("Holdfast", "an empty server", None, 0.5),
    ]
    assert limits(rows[0], rows) == [rows[1]]


def test_cpu_is_the_median_of_the_rounds() -> None:
    """Each program's CPU is the median over the rounds, and none where it didn't run."""
    runs = [Ran(1.0, {"MinIO": 1.0}), Ran(1.0, {"MinIO": 2.0}), Ran(1.0, {"MinIO": 9.0, "x": 3.0})]
    [row] = compare("a", {"a": Target("work", "a", "MiB/s")}, {"a": runs})
    assert dict(row.our_cpu) == {"MinIO": 2.0, "x": 0.0}


def test_a_row_is_kept_whole() -> None:
    """What is written as JSON is read back as it was."""
    target = Target("work", "peer", "ms", 1.5, "at most", "a limit")
    row = Measured(target, (1.0, 2.0), (3.0, 4.0), {"MinIO": 0.1}, {"Redis": 0.2})
    assert Measured.from_dict(row.as_dict()) == row
