"""Says where the time of a long run goes: whoever makes it shorter should know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from heapq import nlargest
from operator import itemgetter

import pytest

SHORT = 120.0
"""Seconds of a run that needs no such figures."""
FILES = 30
"""Files that are named."""


def tell(reporter: pytest.TerminalReporter) -> None:
    """Prints the seconds of each room's tests, with their fixtures, and of the slowest files.

    Tests run in several processes, so the sum is longer than the run.
    """
    rooms: defaultdict[str, float] = defaultdict(float)
    files: defaultdict[str, float] = defaultdict(float)
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                rooms["/".join(file.split("/")[:2])] += report.duration
                files[file] += report.duration
    total = sum(rooms.values())
    if total < SHORT:
        return
    reporter.write_line(f"seconds of tests: {total:.0f}")
    for name, seconds in (*_longest(rooms, len(rooms)), *_longest(files, FILES)):
        reporter.write_line(f"{seconds:7.1f} {name}")


def _longest(seconds: Mapping[str, float], most: int) -> list[tuple[str, float]]:
    return nlargest(most, seconds.items(), key=itemgetter(1))
