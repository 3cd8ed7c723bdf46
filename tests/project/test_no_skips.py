"""Where nothing may be skipped, a skip is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.repository import ROOT

BODY = """
import pytest

def test_skips_itself():
    pytest.skip("no engine here")

@pytest.mark.skipif(True, reason="no engine there")
def test_is_skipped():
    pass

@pytest.fixture
def engine():
    pytest.skip("no engine anywhere")

def test_needs_what_is_missing(engine):
    pass

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert False

def test_passes():
    pass
"""
WHOLE = (
    'import pytest\npytest.importorskip("no_such_module_at_all")\n\ndef test_never():\n    pass\n'
)


def outcome(folder: Path, *options: str) -> tuple[int, str]:
    """Runs pytest on a folder as a process; its exit code and closing line."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [
            *command,
            "-c",
            str(folder / "pytest.ini"),
            "--rootdir",
            str(folder),
            *options,
            str(folder),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_skip_fails_the_run(tmp_path: Path, workers: str) -> None:
    """With the plugin each skipped test fails and gives its reason, in workers too."""
    (tmp_path / "test_made.py").write_text(BODY)
    code, text = outcome(tmp_path, "-p", "tests.no_skips", "-n", workers)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in text
    assert "1 xfailed" in text
    assert "skipped" not in text.splitlines()[-1]
    for reason in ("no engine here", "no engine there", "no engine anywhere"):
        assert f"nothing may be skipped in this run. Skipped: {reason}" in text


def test_a_module_that_skips_itself_fails_the_run(tmp_path: Path) -> None:
    """With the plugin a module that skips itself as a whole is an error."""
    (tmp_path / "test_made.py").write_text(WHOLE)
    code, text = outcome(tmp_path, "-p", "tests.no_skips", "-n", "0")
    assert code == pytest.ExitCode.INTERRUPTED
    assert "no_such_module_at_all" in text


def test_without_the_plugin_a_skip_is_a_skip(tmp_path: Path) -> None:
    """Without the plugin the same tests pass with three skips."""
    (tmp_path / "test_made.py").write_text(BODY)
    code, text = outcome(tmp_path, "-n", "0")
    assert code == pytest.ExitCode.OK
    assert "1 passed, 3 skipped, 1 xfailed" in text
