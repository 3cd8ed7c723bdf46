"""The two versions that meet: the baseline, which is the last release, and this one.

`make baseline` keeps a release as `baseline/baseline.tar.xz`: its wheel's files and its chart. They
run on the same Python and the same packages as this version.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.helm.chart import CHART
from tests.service.processes import COMMAND, Served, environment, serving

BASELINE: Final = Path(__file__).parent / "baseline"
ARCHIVE: Final = BASELINE / "baseline.tar.xz"
CLIENT: Final = Path(__file__).parent / "client.py"
PATIENCE: Final = 90.0
"""Seconds for a program that runs to its end."""


def said() -> Mapping[str, str]:
    """What is known of the baseline: its version, where it is from, the hash of its RECORD."""
    found: dict[str, str] = json.loads((BASELINE / "baseline.json").read_text("utf-8"))
    return found


@dataclass(frozen=True, slots=True)
class Version:
    """A version whose programs can be run.

    Attributes:
        name: `old` or `new`.
        site: the folder with its package; None: the one under test.
        chart: its chart.
    """

    name: str
    site: Path | None
    chart: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that starts programs of this version, whatever lies in the current folder."""
        path = () if self.site is None else (f"PYTHONPATH={self.site}",)
        return ("env", "PYTHONSAFEPATH=1", *path)

    def serving(self, log: Path, **settings: Any) -> AbstractContextManager[Served]:
        """Runs a frontend or, as `command="agent"`, an agent."""
        return serving(log, prefix=self.prefix, **settings)

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return self._run([*COMMAND, *arguments], settings)

    def done(self, *arguments: str, **settings: object) -> str:
        """Runs a command, which must succeed; returns what it printed."""
        done = self.run(*arguments, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def client(self, part: str, *arguments: str) -> Any:
        """Runs a part of `client.py` with this version's client; returns what it reports."""
        done = self._run([sys.executable, str(CLIENT), part, *arguments], {})
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def python(self, code: str) -> str:
        """Runs code beside this version's package; returns what it prints."""
        done = self._run([sys.executable, "-c", code], {})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _run(
        self, command: list[str], settings: Mapping[str, object]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *command],
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def new() -> Version:
    """The version under test."""
    return Version("new", None, CHART)


@contextmanager
def unpacked(folder: Path) -> Iterator[Version]:
    """The baseline, in a folder."""
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(folder, filter="data")
    yield Version("old", folder / "site", folder / "chart")


def settings(version: Version) -> set[str]:
    """The names of a version's settings, as environment variables."""
    code = "from holdfast.service.settings import Settings; print(*Settings.model_fields)"
    return {f"HOLDFAST_{name.upper()}" for name in version.python(code).split()}
