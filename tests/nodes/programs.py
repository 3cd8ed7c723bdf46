"""The containerds that are installed here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

GENERATIONS = ("1.x", "2.x")
"""Debian's containerd, and the one that `make tools` builds."""
ISOLATED = (
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
    "--mount-proc",
)  # fmt: skip
"""Starts a command as process 1 of its own: all others of it, and its mounts, end with it."""
_STATED = re.compile(r"\bv?(\d+\.\d+)\.\d+")


@dataclass(frozen=True, slots=True)
class Programs:
    """containerd, its client and its shim, in one folder.

    Attributes:
        folder: where they are.
        version: as `2.3`.
    """

    folder: Path
    version: str

    @property
    def containerd(self) -> str:
        """The daemon."""
        return str(self.folder / "containerd")

    @property
    def ctr(self) -> str:
        """Its client."""
        return str(self.folder / "ctr")

    def environment(self) -> dict[str, str]:
        """Finds the shim that came with it before any other, and runc."""
        path = f"{self.folder}:{os.environ['PATH']}:/usr/sbin:/sbin"
        return {"PATH": path, "HOME": os.environ.get("HOME", "/")}


def programs(generation: str) -> Programs:
    """Finds a containerd; skips the test where there is none, or it can't work."""
    if not _isolated():
        pytest.skip("containerd needs root and the right to mount, and neither is here")
    for folder in _folders(generation):
        version = _stated(folder / "containerd")
        if version.split(".")[0] == generation[0]:
            return Programs(folder, version)
    advice = "`make tools`" if generation == "2.x" else "Debian's packages containerd and runc"
    pytest.skip(f"there is no containerd {generation} here: {advice}")


def _folders(generation: str) -> list[Path]:
    if generation == "1.x":
        found = shutil.which("containerd")
        return [Path(found).parent] if found else []
    kept = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    chosen = os.environ.get("HOLDFAST_TEST_BIN")
    return [folder / "containerd-2" for folder in ([Path(chosen)] if chosen else []) + [kept]]


@cache
def _stated(program: Path) -> str:
    """The version that a containerd says it is, as `2.3`; or nothing."""
    if not program.exists():
        return ""
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    found = _STATED.search(done.stdout)
    return found[1] if found else ""


@cache
def _isolated() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*ISOLATED, "mount", "-t", "tmpfs", "none", "/run"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
