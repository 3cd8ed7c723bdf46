"""Definitions of other projects' custom resources, which the chart makes objects of."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.kubernetes.control_plane import ControlPlane


def definitions() -> list[Path]:
    """The files that `make tools-kubernetes` fetches; none if it didn't."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    chosen = os.environ.get("HOLDFAST_TEST_BIN")
    folders = [*([Path(chosen)] if chosen else []), cache]
    found = [sorted((folder / "definitions").glob("*.yaml")) for folder in folders]
    return next((files for files in found if files), [])


def install(plane: ControlPlane) -> None:
    """Has an API server know these kinds."""
    files = [f"--filename={path}" for path in definitions()]
    # On the server's side, because these are too large for an annotation.
    plane.kubectl("apply", "--server-side", *files)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
