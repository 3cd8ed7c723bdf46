"""A copy of the project in which a mutation is applied and tests are run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from tests.mutations.mutation import Mutation
from tests.project.repository import check_out

PATIENCE = 420.0
"""Seconds after which tests that don't end count as failed: broken code may wait for ever."""
# No servers that take long to start: what is broken here is broken on every store.
OPTIONS = (
    *("-x", "-n", "0", "-m", "not slow and not minio", "-k", "not moto", "--tb", "line"),
    *("-p", "no:cacheprovider", "-p", "no:randomly", "-o", "timeout=60"),
)
AMBIENT = ("PYTEST_", "HYPOTHESIS_", "COV_")
"""Beginnings of variables by which the pytest outside would reach the one inside."""


class Ended(IntEnum):
    """How pytest ended, by its exit code; others mean that it couldn't run what it should."""

    PASSED = 0
    FAILED = 1


class Grounds:
    """One copy of the project. The tree that it was copied from is never written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        check_out(folder)

    @contextmanager
    def broken(self, mutation: Mutation) -> Iterator[None]:
        """The copy with a mutation, until the block is left.

        Raises:
            ValueError: its place isn't there.
        """
        path = self.folder / mutation.path
        text = path.read_text("utf-8")
        path.write_text(mutation.applied(text), "utf-8")
        try:
            yield
        finally:
            path.write_text(text, "utf-8")
            # Compiled code is found by the source's size and second: both may be the same.
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()

    def run(self, tests: Sequence[str]) -> tuple[Ended, str]:
        """Runs tests in the copy, up to the first that fails; returns what they said, too.

        Raises:
            RuntimeError: they couldn't be run; a mutation must leave what can be imported.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(AMBIENT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *OPTIONS, *tests],
            cwd=self.folder,
            # Before the project that is installed, for programs that tests start, too.
            env={**inherited, "PYTHONPATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return Ended.FAILED, f"not within {PATIENCE:g} s"
        finally:
            if process.poll() is None:
                # What the tests have started goes with them.
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode not in {*Ended}:
            raise RuntimeError(f"pytest ended with {process.returncode}: {said[-2000:]}")
        return Ended(process.returncode), said
