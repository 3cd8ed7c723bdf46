"""The foreign programs that the transport is tested with: where they are, and how they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.repository import ROOT

LONGEST = 100
"""Seconds that a program may take."""
MADE_BY = {"go": "make tools", "js": "make tools-clients", "java": "make tools-clients"}


def folder(kind: str) -> Path:
    """Where the programs of one kind are, as built from the sources that are here.

    Skips the test where they aren't built.
    """
    named = subprocess.run(
        [ROOT / "scripts" / "transport-peers", kind, "--name"],
        check=True,
        capture_output=True,
        text=True,
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    for place in (os.environ.get("HOLDFAST_TEST_BIN"), cache):
        if place and (found := Path(place) / named.stdout.strip()).is_dir():
            return found
    pytest.skip(f"the {kind} clients of the transport aren't built here: `{MADE_BY[kind]}`")


def peer(kind: str) -> list[str]:
    """The command that runs a client of the bytes service."""
    place = folder(kind)
    if kind == "js":
        return [_program("node"), str(place / "peer.js")]
    if kind == "java":
        classes = f"{place}/target/peer.jar:{place}/target/lib/*"
        return [_program("java"), "-cp", classes, "holdfast.Peer"]
    return [str(place / "peer")]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no '{name}' on PATH")
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.

    Raises:
        subprocess.TimeoutExpired: it doesn't end within `LONGEST` seconds.
    """
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
