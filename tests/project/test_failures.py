"""A failure is named when it happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.repository import ROOT

TEST = """
def test_fails():
    assert "found" == "expected"
"""
KILLED = """
import os

def pytest_runtest_logfinish():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_is_killed(tmp_path: Path, workers: int) -> None:
    """What a run printed before it was killed names the tests that had failed, and why."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "conftest.py").write_text(KILLED)
    options = ["-q", "-p", "tests.failures", "-p", "no:randomly", f"-n{workers}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_it.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -9
    assert "FAILED at call: test_it.py::test_fails: AssertionError: assert" in done.stdout
