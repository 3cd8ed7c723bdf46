"""Installs or removes as `holdfast node` does, and dies by SIGKILL before a step: on a machine.

Arguments: the number of steps before it dies, or 0; `install BUNDLE SETTINGS [CERTIFICATE KEY
ISSUERS]`, or `remove`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.cli.rollout import _settings
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.generation import Certificate, Plan
from holdfast.node.rollout.hosts import host_of, known_layout
from holdfast.node.rollout.removal import remove
from holdfast.node.rollout.rollout import Rollout

CHANGE = ("reload", "enable", "disable", "restart", "begin")


class Mortal(Disk):
    """Files whose changes are counted."""

    def __init__(self, left: int) -> None:
        self._left = left

    def step(self) -> None:
        """Dies, or counts."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Counted:
    """A systemd whose changes are steps, too."""

    def __init__(self, services: object, step: Callable[[], None]) -> None:
        self._services = services
        self._step = step

    def __getattr__(self, name: str) -> Any:
        """The real one's, after a step if it changes something."""
        if name in CHANGE:
            self._step()
        return getattr(self._services, name)


def main(left: int, change: str, *rest: str) -> None:
    """Does it."""
    layout, _ = known_layout(Path("/"))
    host = host_of(layout, lambda text: print(text, flush=True))  # noqa: T201 -- a program
    disk = Mortal(left + 1 if left else 0)
    services: Any = Counted(host.services, disk.step)
    mortal = replace(host, disk=disk, services=services)
    if change == "remove":
        remove(mortal)
        return
    bundle, settings, *given = rest
    lines = _settings(Path(settings).read_text("utf-8"))
    certificate = None
    if given:
        shown, key, issuers = given
        certificate = Certificate(shown, key, Path(issuers).read_text("ascii"))
    Rollout(mortal, Plan(Path(bundle), "0", "node-a", lines, certificate))()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
