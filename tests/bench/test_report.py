"""The report of pairs: kept after each, of one run or of several that aren't mixed unseen."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.compare.pairs import Measured, Target
from bench.compare.report import Begun, Pair, Report

EARLY = Begun("2026-01-01T10:00:00+00:00", 5, "abc", "2 cores")
LATE = Begun("2026-01-02T10:00:00+00:00", 2, "def", "2 cores")
SHORT = Measured(
    Target("small <calls>", "a peer", "calls/s", 0.5),
    (3.0,), (10.0,), {"frontend": 0.25, "Redis": 0.0}, {"a peer": 0.05},
)  # fmt: skip
LIMIT = Measured(
    Target("small <calls>", "a peer", "calls/s", ours="an empty server"), (4.0,), (10.0,)
)
GOOD = Measured(Target("COMMIT", "a PUT", "ms", 3.0, "at most"), (20.0,), (10.0,))


def report(first: Begun = EARLY, second: Begun = EARLY) -> Report:
    """One pair that falls short, and one that doesn't."""
    return Report({"calls": Pair(first, (SHORT, LIMIT)), "commit": Pair(second, (GOOD,))})


def test_it_is_kept(tmp_path: Path) -> None:
    """A saved report is read back whole, so that a later run can add to it."""
    folder = tmp_path / "out"
    report(EARLY, LATE).save(folder)
    assert Report.load(folder) == report(EARLY, LATE)
    assert sorted(path.name for path in folder.iterdir()) == ["compare.json", "compare.svg"]


def test_nothing_was_kept(tmp_path: Path) -> None:
    """Where no report is, adding begins with an empty one."""
    assert Report.load(tmp_path) == Report()


@pytest.mark.parametrize("text", ["{", "[]", '{"pairs": []}', '{"pairs": {"a": {"run": {}}}}'])
def test_another_form_is_refused(tmp_path: Path, text: str) -> None:
    """A report that can't be read isn't thrown away unseen when something is to be added."""
    (tmp_path / "compare.json").write_text(text)
    with pytest.raises(SystemExit, match=r"compare\.json can't be added to"):
        Report.load(tmp_path)


def test_what_fell_short_names_its_limit() -> None:
    """The text says what fell short, and how far what limits it gets beside the same peer."""
    text = report().text()
    assert (
        "- small <calls>, beside a peer: 0.30x instead of at least 0.5x; "
        "an empty server reaches 0.40x"
    ) in text.splitlines()
    assert not report().within_limits


def test_limits_are_no_targets() -> None:
    """Rows without a target stand in a table of their own."""
    targets, others = report().text().split("Not targets")
    assert "small <calls>" in targets
    assert "an empty server" not in targets.split("Short of")[0]
    assert "| small <calls> | an empty server | a peer | 0.40x |" in others


def test_cpu_is_told_by_program() -> None:
    """CPU is told per unit of work and by program, without what used none."""
    lines = report().text().splitlines()
    assert "- small <calls>, Holdfast, per call: frontend 0.25" in lines
    assert "- small <calls>, a peer, per call: a peer 0.05" in lines


def test_rows_of_one_run() -> None:
    """A report of one run says once when and on what it was."""
    text = report().text()
    assert "different runs" not in text
    assert f"1. {EARLY}" in text


def test_rows_of_different_runs_are_marked() -> None:
    """Where rows come from several runs, each says from which, and that is said aloud."""
    text = report(LATE, EARLY).text()
    assert "Rows of different runs" in text
    assert f"1. {EARLY}\n2. {LATE}" in text
    [calls] = [line for line in text.splitlines() if line.startswith("| small <calls> | a peer")]
    [commit] = [line for line in text.splitlines() if line.startswith("| COMMIT")]
    assert (calls[-5:], commit[-5:]) == ("| 2 |", "| 1 |")


def test_tables_are_whole() -> None:
    """Every line of a table has as many cells as its head, with one run and with several."""
    for one in (report(), report(EARLY, LATE)):
        blocks = [block.splitlines() for block in one.text().split("\n\n")]
        tables = [block for block in blocks if block[0].startswith("|")]
        assert len(tables) == 2
        for table in tables:
            assert len({line.count("|") for line in table}) == 1


def test_the_picture_has_a_bar_for_each_target(tmp_path: Path) -> None:
    """The picture is valid XML with one bar for each target, coloured by whether it is reached."""
    report().save(tmp_path)
    drawn = ET.fromstring((tmp_path / "compare.svg").read_text("utf-8"))  # noqa: S314 -- ours
    bars = [rect.get("class") for rect in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == ["page", "short", "good"]
