"""Hosts, and the bundle that is installed on them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.images import make_image
from tests.nodes.programs import GENERATIONS, programs
from tests.project.repository import ROOT
from tests.rollout.host import Host
from tests.rollout.machine import machine
from tests.service.conftest import Fill, fill

__all__ = ["fill"]
PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle that was made just now."""
    folder = tmp_path_factory.mktemp("bundle")
    command = [sys.executable, "-m", "scripts.bundle", str(folder), "--work", str(folder / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "holdfast"


@pytest.fixture(params=GENERATIONS)
def host(bundle: Path, fill: Fill, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A machine with each containerd, an image, and a bundle to be installed."""
    found = programs(request.param)
    with machine() as booted:
        subprocess.run(["cp", "-a", bundle, booted.root / "opt/bundle"], check=True)
        for program in PROGRAMS:
            subprocess.run(["cp", found.folder / program, booted.root / "run"], check=True)
            booted.output("mv", f"/run/{program}", "/usr/bin")
        booted.output("systemctl", "enable", "--now", "containerd")
        made = Host(booted)
        made.settings()
        made.add("registry.example/first:1", make_image(fill))
        made.starts()
        yield made
