"""Names a failure when it happens: a run that is ended before its end has no summary."""

from __future__ import annotations

import os
import sys

import pytest

MOST = 400
"""Characters of a reason."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Prints a line for each failure, in the process to which all workers report."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        lines = report.longreprtext.splitlines()
        reasons = [line[1:].strip() for line in lines if line.startswith("E ")]
        why = (reasons or lines or ["no reason"])[0][:MOST]
        sys.stdout.write(f"\nFAILED at {report.when}: {report.nodeid}: {why}\n")
