"""How many Go tests have passed, told at the end of a test run, so that it can be quoted."""

from __future__ import annotations

import pytest

PROPERTY = "conformance"


def tell(terminalreporter: pytest.TerminalReporter) -> None:
    """Writes a line for each store."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == PROPERTY:
                store, count = value
                terminalreporter.write_line(f"conformance, {store}: {count} Go tests passed")


def count_of(store: str, count: int) -> tuple[str, tuple[str, int]]:
    """A property of a test that `tell` knows."""
    return PROPERTY, (store, count)
