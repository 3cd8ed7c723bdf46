"""Who uses the processors: CPU seconds of the programs that were started from here.

Read from `/proc`, so that it costs those programs nothing. It counts what a figure of
speed hides when client, server and backend share the cores: which of them stands in
the way.
"""

from __future__ import annotations

import os
import resource
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
CLIENT: Final = "client"
"""Programs that were started and have ended: what drives the load."""
ROLES: Final = {
    "holdfast.cli serve": "frontend",
    "holdfast.cli agent": "agent",
    "bench.fleet.worker": "simulated nodes",
    "bench.empty_server": "empty server",
    "content-server": "containerd's server",
    "registry serve": "registry",
    "minio server": "MinIO",
    "redis-server": "Redis",
    "containerd --config": "containerd",
}
"""What is in a command line, and what that program is called."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds in user code and in the kernel."""

    user: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)


@dataclass(frozen=True, slots=True)
class Process:
    """A line of `/proc/…/stat`: its name, who started it, and what it used."""

    name: str
    parent: int
    cpu: Cpu

    @classmethod
    def parse(cls, text: str) -> Process:
        """Reads it; the name is in brackets and may hold any."""
        begin, end = text.index("("), text.rindex(")")
        fields = text[end + 2 :].split()
        return cls(
            text[begin + 1 : end],
            int(fields[1]),
            Cpu(int(fields[11]) / TICKS, int(fields[12]) / TICKS),
        )


def role(command: str) -> str:
    """What a program is called, by its command line; "" if it isn't one of those watched."""
    return next((name for part, name in ROLES.items() if part in command), "")


class Meter:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._before = dict(_descendants())
        self._ended = _ended()

    def used(self) -> dict[str, Cpu]:
        """CPU seconds since then, by role; what began and ended meanwhile is the client's."""
        found: defaultdict[str, Cpu] = defaultdict(Cpu)
        for number, process in _descendants():
            name = role(_command(number))
            if name:
                before = self._before.get(number)
                found[name] += process.cpu - (before.cpu if before else Cpu())
        found[CLIENT] = _ended() - self._ended
        return dict(found)


def threads(number: int) -> dict[int, Process]:
    """A process's threads, each with its name and what it used, by their numbers."""
    tasks = {
        int(task.name): _read(task / "stat") for task in Path(f"/proc/{number}/task").iterdir()
    }
    return {task: read for task, read in tasks.items() if read is not None}


def per_unit(used: Mapping[str, Cpu], units: float) -> dict[str, float]:
    """CPU milliseconds per unit of work, the largest first."""
    spent = sorted(used.items(), key=lambda one: -one[1].total)
    return {name: 1000 * cpu.total / units for name, cpu in spent}


def _ended() -> Cpu:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cpu(usage.ru_utime, usage.ru_stime)


def _descendants() -> Iterator[tuple[int, Process]]:
    """All processes below this one."""
    running = {
        int(folder.name): read
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and (read := _read(folder / "stat")) is not None
    }
    children = defaultdict(list)
    for number, process in running.items():
        children[process.parent].append(number)
    waiting = list(children[os.getpid()])
    while waiting:
        number = waiting.pop()
        waiting += children[number]
        yield number, running[number]


def _read(path: Path) -> Process | None:
    try:
        return Process.parse(path.read_text("utf-8", "replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None  # it has ended


def _command(number: int) -> str:
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return words.replace(b"\0", b" ").decode("utf-8", "replace")
