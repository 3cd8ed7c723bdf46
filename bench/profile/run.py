"""One frontend under one load: first what CPU it costs whom, then where in the frontend."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from bench import cpu
from bench.compare import loads
from bench.compare.loads import BLOB, HOT, SMALL, Done
from bench.compare.peers import Frontend, Peers, drive
from bench.cpu import Cpu, Process
from bench.profile import stacks
from bench.profile.sampling import Sampling, find, sample

Load = Callable[[str, str], Done]
"""Puts a load on the frontend at an address, by a digest that it has."""
Backend = Literal["minio", "folder"]

LOADS: Final[Mapping[str, tuple[str, int, Load]]] = {
    "write": ("MiB", 0, lambda address, _: loads.write(address)),
    # Larger than the cache: what comes last has thrown out what is read first.
    "read": ("MiB", BLOB, loads.read),
    "unpack": ("Read", HOT, loads.unpack),
    "info": ("Info", SMALL, loads.infos),
    "small-blobs": ("blob", 0, lambda address, _: loads.small_blobs(address)),
    "small-writes": ("WRITE", 0, lambda address, _: loads.small_writes(address)),
}
"""The unit of work, the size of the blob that is read, and what to do, by name."""
NOTHING: Final = 0.005
"""Of all samples: pools of threads that did less aren't told of."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What was found.

    Attributes:
        load: its name.
        unit: of work.
        rate: units per second while nobody sampled.
        used: CPU seconds by program, while nobody sampled.
        threads: the same of the frontend's threads.
        work: how many units that was.
        samples: of the frontend, by stack.
        how: how it was sampled.
        picture: where the flame graph is.
        top: how many lines to tell.
    """

    load: str
    unit: str
    rate: float
    work: float
    used: Mapping[str, Cpu]
    threads: Mapping[str, Cpu]
    samples: Mapping[stacks.Stack, int]
    how: Sampling
    picture: Path
    top: int

    within_limits: bool = field(default=True, init=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "load": self.load,
            "unit": self.unit,
            "rate": self.rate,
            "cpu_ms": cpu.per_unit(self.used, self.work),
            "frontend_threads_cpu_ms": cpu.per_unit(self.threads, self.work),
            "self": dict(stacks.by_self(stacks.busy(self.samples)).most_common(self.top)),
            "total": dict(stacks.by_total(stacks.busy(self.samples)).most_common(self.top)),
            "samples": sum(self.samples.values()),
        }

    def text(self) -> str:
        """For people: CPU by program and thread, then the hottest lines."""
        lines = [
            f"{self.load}: {self.rate:,.4g} {self.unit}/s over {self.work:,.0f}, not sampled",
            "",
            f"{'CPU, ms per ' + self.unit:28}{'user':>10}{'system':>10}{'sum':>10}{'cores':>8}",
            *self._cpu_lines(self.used, ""),
            "the frontend's threads:",
            *self._cpu_lines(self.threads, "  "),
            "",
            f"{sum(self.samples.values())} samples, {self.picture}",
        ]
        native = self.how.native
        if not self.how.threads:
            return "\n".join([*lines, *stacks.table(self.samples, self.top, native=native)])
        for name, samples in stacks.by_thread(self.samples).items():
            if stacks.busy(samples).total() > NOTHING * sum(self.samples.values()):
                lines += ["", f"## {name}", *stacks.table(samples, self.top, native=native)]
        return "\n".join(lines)

    def _cpu_lines(self, used: Mapping[str, Cpu], indent: str) -> list[str]:
        took = self.work / self.rate
        return [
            f"{indent + name:28}{1000 * spent.user / self.work:10.4f}"
            f"{1000 * spent.system / self.work:10.4f}{1000 * spent.total / self.work:10.4f}"
            f"{spent.total / took:8.2f}"
            for name, spent in sorted(used.items(), key=lambda one: -one[1].total)
        ]


def run(load: str, how: Sampling, picture: Path, backend: Backend, top: int) -> Profile:
    """Starts a frontend and its backend, and profiles it under a load.

    Raises:
        SystemExit: py-spy is missing, or may not look.
    """
    program = find()
    unit, size, act = LOADS[load]
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hf-profile-") as folder, Peers(Path(folder)) as peers:
        frontend = peers.frontend() if backend == "minio" else peers.frontend_on_folder()
        digest = ""
        if size:
            digest = drive("write", address=frontend.address, size=size)["digests"][0]
        # What is first done, imports, connects and fills caches: it isn't counted.
        act(frontend.address, digest)
        counted, threads = _counted(frontend, lambda: act(frontend.address, digest), how.seconds)
        with _under_load(lambda: act(frontend.address, digest)):
            sample(program, frontend.process, picture, how)
    samples = stacks.stacks(picture.read_text("utf-8"))
    return Profile(
        load=load,
        unit=unit,
        rate=counted.work / counted.seconds,
        work=counted.work,
        used=counted.cpu,
        threads=_pooled(threads, stacks.thread_names(samples)),
        samples=samples,
        how=how,
        picture=picture,
        top=top,
    )


def _counted(
    frontend: Frontend, act: Callable[[], Done], seconds: float
) -> tuple[Done, list[tuple[int, Process]]]:
    """Repeats a load for some seconds; its sum, and what the frontend's threads used meanwhile."""
    before = {n: thread.cpu for n, thread in cpu.threads(frontend.process).items()}
    deadline = time.monotonic() + seconds
    work, took = 0.0, 0.0
    used: dict[str, Cpu] = {}
    while not work or time.monotonic() < deadline:
        done = act()
        work, took = work + done.work, took + done.seconds
        for name, spent in done.cpu.items():
            used[name] = used.get(name, Cpu()) + spent
    threads = [
        (number, replace(thread, cpu=thread.cpu - before.get(number, Cpu())))
        for number, thread in cpu.threads(frontend.process).items()
    ]
    return Done(work, took, used), threads


def _pooled(threads: Iterable[tuple[int, Process]], names: Mapping[int, str]) -> dict[str, Cpu]:
    """Threads by what Python calls their pool, or else by what the kernel calls them."""
    found: dict[str, Cpu] = {}
    for number, thread in threads:
        name = names.get(number, thread.name)
        found[name] = found.get(name, Cpu()) + thread.cpu
    return found


@contextmanager
def _under_load(act: Callable[[], Done]) -> Iterator[None]:
    """Repeats a load in a thread until the block is left.

    Raises:
        SystemExit: it failed.
    """
    enough, failed = threading.Event(), list[BaseException]()

    def repeat() -> None:
        try:
            while not enough.is_set():
                act()
        except (SystemExit, Exception) as error:  # noqa: BLE001 -- it is raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
    if failed:
        raise failed[0]
