"""A pytest plugin that turns every skip into a failure: `-p tests.no_skips`.

On a machine that has all that the tests need (`.ci/run` sees to that), a skip
means that something was not tested though everybody believes it was.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest

ReportT = TypeVar("ReportT", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails a test that skips, in its set-up or its body; an expected failure may fail."""
    return _failed((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fails a module that skips itself as a whole."""
    return _failed((yield))


def _failed(report: ReportT) -> ReportT:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: nothing may be skipped in this run. {reason}"
    return report
