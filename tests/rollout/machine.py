"""A machine that a real systemd runs, with a real containerd."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.project.repository import ROOT
from tests.servers.process import wait_until

SCRIPT: Final = Path(__file__).with_name("machine.sh")
DISK: Final = "machine"
CGROUPS: Final = Path("/sys/fs/cgroup")
PATIENCE: Final = 240.0
"""Seconds for what a machine is told to do, on a loaded machine."""
NEEDED: Final = ("unshare", "nsenter", "pivot_root", "setpriv", "runc", "containerd", "ip")


@dataclass(slots=True)
class Machine:
    """One with a disk, which stays when the machine is stopped.

    Attributes:
        folder: for its disk, and for what its systemd says; its name is that of its cgroups.
        shown: folders that it sees as they are here.
        first: its process 1, as this system counts, while it runs.
    """

    folder: Path
    shown: Sequence[str]
    first: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> Path:
        """Its root folder, as it is seen from here."""
        return Path(f"/proc/{self.first}/root")

    def inside(self, *flags: str) -> tuple[str, ...]:
        """What starts a command on the machine, before that command; by default in all respects."""
        chosen = flags or ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--wd=/")
        return ("nsenter", "--target", str(self.first), *chosen)

    def boot(self) -> None:
        """Turns it on, and waits until its systemd has started what it should."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
                    "--kill-child", "--uts", "--ipc", "--net", "--cgroup",
                    "bash", str(SCRIPT), str(self.folder / DISK), *self.shown,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: _join_groups(self.folder.name),  # noqa: PLW1509 -- writes files
            )  # fmt: skip
        wait_until(self._booted, "the machine", PATIENCE)

    def _booted(self) -> bool:
        assert self._process is not None
        ended = self._process.poll() is not None
        assert not ended, (self.folder / "log").read_text("utf-8", "replace")
        for pid in _children(self._process):
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                self.first = pid
                state = self.run("systemctl", "is-system-running").stdout.strip()
                return state in {"running", "degraded"}
        return False

    def cut(self) -> None:
        """Stops it at once: process 1 ends, and so do all others and all mounts. The disk stays."""
        if self._process is None:
            return
        with suppress(OSError):
            for pid in _children(self._process):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None

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
    folders = {str(ROOT), sys.prefix, sys.base_prefix, *map(str, shown)}
    made = Machine(folder, sorted(folders))
    try:
        _make_groups(folder.name)
        with _disk(folder / DISK):
            try:
                made.boot()
                yield made
            finally:
                made.cut()
    finally:
        _remove_groups(folder.name)
        shutil.rmtree(folder)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A file system in memory: what an overlay writes to may not lie within an overlay."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3g", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in listed]


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
