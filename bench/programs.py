"""Programs that measure, and where they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.cpu import Meter

TIMEOUT: Final = 600.0
"""Seconds for one run of a program."""


def tool(name: str) -> str:
    """A program that `make tools-bench` has built, or one on PATH."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    found = str(cache / name) if (cache / name).exists() else shutil.which(name)
    if not found:
        raise SystemExit(f"{name} isn't built; `make tools tools-bench` does it")
    return found


def answer(command: Sequence[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Runs a measuring program to its end; its last line is JSON.

    What CPU it took, and whose, is added as `cpu`.
    """
    meter = Meter()
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "cpu": meter.used()}
