"""A container of the image, run by runc as the chart's pods are: with as few rights as can be."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.archive import Image
from tests.servers.process import started

NAMESPACES = ("pid", "ipc", "uts", "mount", "cgroup")
"""All but the network's: servers of the tests are on this machine's loopback."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs containers of one image.

    Attributes:
        image: whose root is read, and never written to.
        folder: an own one, for descriptions and states of containers.
    """

    image: Image
    folder: Path

    def run(
        self, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the image's program with arguments until it ends."""
        return self._run([*self.image.defaults["Entrypoint"], *arguments], environment or {})

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs code with the image's Python until it ends."""
        return self._run(["python3", "-c", code, *arguments], {})

    def _run(
        self, program: Sequence[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        command = self.prepare(program, environment, [])
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @contextmanager
    def served(
        self,
        environment: dict[str, str],
        ready: Callable[[], bool],
        mounts: Sequence[dict[str, Any]] = (),
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Runs what the image runs by itself; gives runc's process, which passes signals on."""
        program = [*self.image.defaults["Entrypoint"], *self.image.defaults["Cmd"]]
        command = self.prepare(program, environment, mounts)
        with started(command, self.folder / "log", ready) as process:
            try:
                yield process
            finally:
                self._kill(command)

    def prepare(
        self, program: Sequence[str], environment: dict[str, str], mounts: Sequence[dict[str, Any]]
    ) -> list[str]:
        """Describes a container; returns the command that runs it."""
        name = f"holdfast-{secrets.token_hex(6)}"
        bundle = self.folder / name
        bundle.mkdir()
        described = describe(self.image, program, environment, mounts)
        (bundle / "config.json").write_text(json.dumps(described), "utf-8")
        return ["runc", "--root", str(self.folder / "state"), "run", "--bundle", str(bundle), name]

    def _kill(self, command: Sequence[str]) -> None:
        """Ends what a killed runc would leave behind."""
        gone = [*command[:3], "delete", "--force", command[-1]]
        subprocess.run(gone, capture_output=True, check=False)


def describe(
    image: Image,
    program: Sequence[str],
    environment: dict[str, str],
    mounts: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """A container's description by the OCI runtime specification.

    Its root is read-only, /tmp is its own, it has the image's user, and no capability.
    """
    user, group = (int(number) for number in image.defaults["User"].split(":"))
    given = [f"{name}={value}" for name, value in environment.items()]
    # A sandbox may not let anybody be spared by the kernel's OOM killer, nor need it here.
    score = int(Path("/proc/self/oom_score_adj").read_text("ascii"))
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": list(program),
            "env": [*image.defaults["Env"], "HOME=/tmp", *given],
            "cwd": image.defaults["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
            "oomScoreAdj": score,
        },
        "root": {"path": str(image.root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},  # noqa: S108
            *mounts,
        ],
        "linux": {
            "cgroupsPath": f"/holdfast-{os.getpid()}",
            "namespaces": [{"type": kind} for kind in NAMESPACES],
        },
    }
