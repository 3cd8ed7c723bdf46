"""The host's systemd, through the host's own systemctl."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import FailedPrecondition, shorten

OLDEST: Final = 251
"""The first systemd whose units may write %d for the folder of their credentials."""
PATIENCE: Final = 400.0
"""Seconds for one job: longer than any of the units may take to stop and to start."""
ASKING: Final = 10.0
"""Seconds in which a program must print its version."""
_PROGRAM: Final = re.compile(r"path=(/[^ ;]+)")
_CONTAINERD: Final = re.compile(r"containerd \S+ v?(\d+\.\d+\.\d+)")
_VERSION: Final = re.compile(r"systemd (\d+)")


class Systemd:
    """systemd, asked by `systemctl` in the host's root folder."""

    def __init__(self, host: Path = Path("/")) -> None:
        """Asks nothing yet.

        Args:
            host: the host's root folder. Its /run and /proc must be the host's, as they are if the
                host's root is mounted with all that is mounted below it.
        """
        self._host = host

    def check(self) -> None:
        """Passes if systemd runs the host, and is recent enough.

        Raises:
            FailedPrecondition: it doesn't, or isn't.
        """
        if not (self._host / "run/systemd/system").is_dir():
            raise FailedPrecondition("this host isn't run by systemd, which starts the agent")
        found = _VERSION.match(self._run("--version").stdout)
        if found is None or int(found[1]) < OLDEST:
            version = found[1] if found else "unknown"
            raise FailedPrecondition(
                f"systemd {version} is too old: the agent's unit needs {OLDEST}"
            )

    def reload(self) -> None:
        """Reads all units again."""
        self._done("daemon-reload")

    def enable(self, *units: str) -> None:
        """Starts units at boot."""
        self._done("enable", *units)

    def disable(self, *units: str) -> None:
        """No longer starts units at boot, and stops them; units that don't exist are no error."""
        for unit in units:
            done = self._run("disable", "--now", unit)
            if done.returncode and self._exists(unit):
                raise _failed(("disable", "--now", unit), done)

    def restart(self, unit: str) -> None:
        """Restarts a unit, as one job that systemd finishes by itself; waits for it."""
        self._done("restart", unit)

    def begin(self, unit: str) -> None:
        """Has a unit started, and doesn't wait for it."""
        self._done("start", "--no-block", unit)

    def active(self, unit: str) -> bool:
        """Whether a unit runs."""
        return self._run("is-active", "--quiet", unit).returncode == 0

    def release(self, unit: str) -> str:
        """The version of the containerd that a unit starts, as 1.6.20; "" if it isn't known."""
        try:
            shown = self._run("show", "--value", "--property=ExecStart", unit).stdout
            program = _PROGRAM.search(shown)
            said = self._started((program[1], "--version"), ASKING).stdout if program else ""
        except (FailedPrecondition, OSError):
            return ""
        found = _CONTAINERD.match(said)
        return found[1] if found else ""

    def runs(self, program: str) -> None:
        """Passes if the host can run a program.

        Raises:
            FailedPrecondition: it can't: its C library may be older than the program's.
        """
        done = self._started((program, "--version"))
        if done.returncode:
            raise FailedPrecondition(
                f"this host can't run {program}: {shorten(done.stderr.strip() or done.stdout, 400)}"
            )

    def _exists(self, unit: str) -> bool:
        return self._run("cat", unit).returncode == 0

    def _done(self, *arguments: str) -> None:
        done = self._run(*arguments)
        if done.returncode:
            raise _failed(arguments, done)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._started(("systemctl", "--no-pager", *arguments))

    def _started(
        self, command: Sequence[str], seconds: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        try:
            return subprocess.run(  # noqa: S603 -- systemctl, and programs that we have put there
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                env=environment,
                # Another root folder for the child alone.
                preexec_fn=self._enter if self._host != Path("/") else None,
            )
        except FileNotFoundError:
            raise FailedPrecondition(f"this host has no {command[0]}") from None
        except subprocess.TimeoutExpired:
            raise FailedPrecondition(
                f"{' '.join(command)} hasn't ended after {seconds:g} s"
            ) from None

    def _enter(self) -> None:
        os.chroot(self._host)
        os.chdir("/")


def _failed(arguments: Sequence[str], done: subprocess.CompletedProcess[str]) -> FailedPrecondition:
    said = shorten(" ".join((done.stderr or done.stdout).split()), 400)
    return FailedPrecondition(f"systemctl {' '.join(arguments)} failed: {said}")
