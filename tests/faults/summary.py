"""What the enumerations did, reported at the end of a test run so that it can be quoted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

PROPERTY = "faults"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Adds up the counts of all flows, by where their faults occurred."""
    totals: dict[str, Counter[str]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == PROPERTY:
                where, counts = value
                totals.setdefault(where, Counter()).update(counts)
    for where, counts in sorted(totals.items()):
        terminalreporter.write_line(f"faults, {where}: {_told(counts)}")


def _told(counts: Counter[str]) -> str:
    codes = ", ".join(f"{n} {code}" for code, n in sorted(counts.items()) if code.isupper())
    return (
        f"{counts['flows']} flows, {counts['requests']} requests, "
        f"{counts['runs']} runs with a fault ({codes})"
    )


def counts_of(where: str, requests: int, codes: Counter[str]) -> tuple[str, Any]:
    """A property of a test that `pytest_terminal_summary` adds up."""
    counts = {"flows": 1, "requests": requests, "runs": sum(codes.values()), **codes}
    return PROPERTY, (where, counts)
