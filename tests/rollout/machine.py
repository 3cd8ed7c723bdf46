"""A machine that a real systemd runs, with a real containerd."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.project.repository import ROOT
from tests.servers.process import wait_until

SCRIPT: Final = Path(__file__).with_name("machine.sh")
CGROUPS: Final = Path("/sys/fs/cgroup")
PATIENCE: Final = 240.0
"""Seconds for what a machine is told to do, on a loaded machine."""
NEEDED: Final = ("unshare", "nsenter", "pivot_root", "setpriv", "runc", "containerd", "ip")


@dataclass(frozen=True, slots=True)
class Machine:
    """A running one.

    Attributes:
        first: its process 1, as this system counts.
        log: what its systemd has said.
    """

    first: int
    log: Path

    @property
    def root(self) -> Path:
        """Its root folder, as it is seen from here."""
        return Path(f"/proc/{self.first}/root")

    def inside(self, *flags: str) -> tuple[str, ...]:
        """What starts a command on the machine, before that command; by default in all respects."""
        chosen = flags or ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--wd=/")
        return ("nsenter", "--target", str(self.first), *chosen)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [*self.inside(), *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    def output(self, *command: str) -> str:
        """Runs a command that must not fail; returns what it prints."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def machine(*shown: Path) -> Iterator[Machine]:
    """Boots a machine; all of it ends with the block.

    Args:
        shown: folders that it sees as they are here, besides this repository and Python.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        pytest.skip(f"a machine takes root, systemd, and {', '.join(missing) or NEEDED}")
    folder = Path(tempfile.mkdtemp(prefix="hf-machine-"))
    group = folder.name
    folders = {str(ROOT), sys.prefix, sys.base_prefix, *map(str, shown)}
    try:
        _make_groups(group)
        with (folder / "log").open("wb") as log:
            (folder / "machine").mkdir()
            process = subprocess.Popen(
                [
                    "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
                    "--kill-child", "--uts", "--ipc", "--net", "--cgroup",
                    "bash", str(SCRIPT), str(folder / "machine"), *sorted(folders),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: _join_groups(group),  # noqa: PLW1509 -- it only writes files
            )  # fmt: skip
        try:
            yield _booted(process, folder / "log")
        finally:
            _end(process)
    finally:
        _remove_groups(group)
        shutil.rmtree(folder)


def _booted(process: subprocess.Popen[bytes], log: Path) -> Machine:
    found: list[int] = []

    def booted() -> bool:
        assert process.poll() is None, log.read_text("utf-8", "replace")
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found[:] = [int(pid) for pid in listed]
        if not found or Path(f"/proc/{found[0]}/comm").read_text() != "systemd\n":
            return False
        state = Machine(found[0], log).run("systemctl", "is-system-running").stdout.strip()
        return state in {"running", "degraded"}

    wait_until(booted, "the machine", PATIENCE)
    return Machine(found[0], log)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends process 1, and so all others and all mounts."""
    with suppress(OSError):
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in listed:
            os.kill(int(pid), signal.SIGKILL)
    process.wait(PATIENCE)


def _hierarchies() -> list[Path]:
    """The hierarchies of cgroups, version 1."""
    found = [path for path in CGROUPS.iterdir() if (path / "tasks").exists()]
    if not found:
        pytest.skip("a machine takes cgroups of version 1")
    return found


def _make_groups(name: str) -> None:
    for hierarchy in _hierarchies():
        made = hierarchy / name
        made.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists():
                (made / file).write_text((hierarchy / file).read_text())


def _join_groups(name: str) -> None:
    for hierarchy in _hierarchies():
        (hierarchy / name / "tasks").write_text(str(os.getpid()))


def _remove_groups(name: str) -> None:
    def removed() -> bool:
        """A group can be removed once the kernel has seen its last process off."""
        for hierarchy in _hierarchies():
            groups = sorted((hierarchy / name).rglob("*/"), reverse=True)
            for group in [*groups, hierarchy / name]:
                with suppress(OSError):
                    group.rmdir()
        return not any((hierarchy / name).exists() for hierarchy in _hierarchies())

    wait_until(removed, "the machine's cgroups", PATIENCE)
