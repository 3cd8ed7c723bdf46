"""The conformance tests as a program: where it is, how it runs, what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.project.repository import ROOT
from tests.service.processes import Served

MARK = "\x16"
"""What the program puts before its own lines, so that no test's output is taken for one."""
_STEP = re.compile(rf"\s*{MARK}(?:===|---) +(?P<verdict>\w+):? +(?P<name>.*?)(?: \([\d.]+s\))?")
_VERDICTS = {"PASS", "FAIL", "SKIP"}


def program() -> str | None:
    """Where it is, as built from the sources that are here: HOLDFAST_TEST_BIN, PATH, the cache."""
    named = subprocess.run(
        [ROOT / "scripts" / "go-conformance", "--name"], check=True, capture_output=True, text=True
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    folders = [os.environ.get("HOLDFAST_TEST_BIN", ""), os.environ.get("PATH", ""), str(cache)]
    return shutil.which(named.stdout.strip(), path=os.pathsep.join(filter(None, folders)))


def command(where: str, frontends: Sequence[Served], *options: str) -> list[str]:
    """The command line that runs it against frontends of one store."""
    addresses = ",".join(frontend.address for frontend in frontends)
    return [where, f"-frontends={addresses}", *options]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one Go test ended, and what it said."""

    name: str
    verdict: str
    output: str

    def __str__(self) -> str:
        """As a failure is shown."""
        return f"--- {self.verdict}: {self.name}\n{self.output}"


def outcomes(text: str) -> list[Outcome]:
    """What `-test.v=test2json` says of the tests that have none below them.

    Source: Go, package testing, and cmd/test2json.
    """
    said: dict[str, list[str]] = {}
    verdicts: dict[str, str] = {}
    current: list[str] = []
    for line in text.splitlines():
        if step := _STEP.fullmatch(line):
            # No name: what follows isn't any test's own.
            current = said.setdefault(step["name"], []) if step["name"] else []
            if step["verdict"] in _VERDICTS:
                verdicts[step["name"]] = step["verdict"]
        else:
            current.append(line.replace(MARK, ""))
    parents = {name.rpartition("/")[0] for name in said}
    return [
        Outcome(name, verdicts.get(name, "UNFINISHED"), "\n".join(lines))
        for name, lines in said.items()
        if name not in parents or (verdicts.get(name) == "FAIL" and lines)
    ]
