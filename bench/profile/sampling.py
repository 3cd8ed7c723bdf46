"""py-spy, which isn't a dependency: found where it may be, told what to do, understood."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RATE: Final = 200
"""Samples per second: each stops the frontend for about a millisecond."""
PATIENCE: Final = 120.0
"""Seconds that it may take longer than it samples: it reads symbols first."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample.

    Attributes:
        seconds: for how long.
        native: frames of C and C++, too.
        gil: only threads that hold the interpreter.
        threads: stacks of each thread apart.
    """

    seconds: float
    native: bool = False
    gil: bool = False
    threads: bool = True

    def command(self, program: str, process: int, picture: Path) -> list[str]:
        """What to run."""
        chosen = {"--native": self.native, "--gil": self.gil, "--threads": self.threads}
        return [
            *(program, "record", "--pid", str(process), "--output", str(picture)),
            *("--duration", f"{max(self.seconds, 1):.0f}", "--rate", str(RATE)),
            *(name for name, wanted in chosen.items() if wanted),
        ]


def find(folders: Sequence[Path] = (Path(sys.executable).parent,)) -> str:
    """Where py-spy is: on PATH, or beside the interpreter.

    Raises:
        SystemExit: in neither.
    """
    beside = (str(folder / "py-spy") for folder in folders)
    found = shutil.which("py-spy") or next(filter(None, map(shutil.which, beside)), None)
    if found is None:
        raise SystemExit(
            "py-spy is neither on PATH nor beside this interpreter. It isn't a dependency; "
            "`pip install py-spy`, into any environment whose bin is on PATH, is all it needs"
        )
    return found


def sample(program: str, process: int, picture: Path, how: Sampling) -> None:
    """Samples a process, and draws its flame graph.

    Raises:
        SystemExit: py-spy couldn't.
    """
    done = subprocess.run(
        how.command(program, process, picture),
        capture_output=True,
        text=True,
        timeout=how.seconds + PATIENCE,
        check=False,
    )
    if done.returncode or not picture.exists():
        raise SystemExit(trouble(process, done.stderr + done.stdout))


def trouble(process: int, said: str) -> str:
    """What to do about what py-spy said."""
    if any(word in said.lower() for word in ("permission denied", "not permitted")):
        return (
            f"py-spy may not look into process {process}: it needs ptrace. Run this as root; or "
            "`sysctl kernel.yama.ptrace_scope=0`; in a container, with the capability SYS_PTRACE"
        )
    return f"py-spy failed on process {process}: {said.strip()[-1000:]}"
