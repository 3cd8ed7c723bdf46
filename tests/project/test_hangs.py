"""A test that hangs ends, wherever it hangs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.repository import ROOT

CONFTEST = "import tests.hangs\n\ntests.hangs.GRACE = {grace}\n"
BODY = """
import asyncio
import time

import pytest
import uvloop

def run(main, factory=uvloop.new_event_loop):
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())

async def waits():
    await asyncio.Event().wait()

async def survives():
    while True:
        try:
            await asyncio.Event().wait()
        except BaseException:
            pass

@pytest.fixture
def never_ends():
    yield
    run(survives)

def test_waits_on_uvloop():
    run(waits)

def test_waits_on_asyncio():
    run(waits, asyncio.new_event_loop)

def test_survives():
    run(survives)

def test_fails_and_never_ends(never_ends):
    assert False

@pytest.mark.timeout(60)
def test_passes():
    pass
"""


def outcome(folder: Path, workers: str, *chosen: str, grace: float) -> tuple[int, str]:
    """Runs some of the tests as a process, with a second for each; its exit code and its text.

    Its worker is ended if a test goes on for `grace` seconds after its time is up.
    """
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST.format(grace=grace))
    (folder / "test_made.py").write_text(BODY)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    options = ["-p", "tests.hangs", "--timeout", "1", "--rootdir", str(folder), "-n", workers]
    done = subprocess.run(
        [*command, *options, *(f"{folder}/test_made.py::test_{name}" for name in chosen)],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_a_wait_fails(tmp_path: Path) -> None:
    """A test that waits for ever fails after its timeout, on asyncio and on uvloop."""
    code, text = outcome(tmp_path, "0", "waits_on_uvloop", "waits_on_asyncio", "passes", grace=30)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 1 passed" in text


def test_what_survives_ends_with_its_process(tmp_path: Path) -> None:
    """A test, or the end of a fixture, that survives that ends with its worker; others run."""
    code, text = outcome(tmp_path, "1", "survives", "fails_and_never_ends", "passes", grace=1)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert text.count("Not properly terminated") == 2
    assert "1 passed" in text.splitlines()[-1]
    for name in ("test_survives", "never_ends"):
        assert re.search(rf'test_made\.py", line \d+ in {name}$', text, re.MULTILINE)
