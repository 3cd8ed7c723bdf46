"""The processes that have the nodes, and what they are told."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bench.fleet.spec import FleetSpec
from bench.fleet.tally import Tally

COMMAND: Final = (sys.executable, "-m", "bench.fleet.worker")
END: Final = 120.0
"""Seconds for a process to give up what its nodes hold."""
LINE: Final = 2**24


class CrewError(Exception):
    """A process with nodes has ended, or couldn't clean up; the text says what is known."""


@dataclass(slots=True)
class Pulled:
    """What came of a fleet's pull.

    Attributes:
        ready: s from the beginning until each node had the image, in order.
        took: s from a node's own beginning until it had the image, in order.
        repeated: why pulls failed that were repeated.
        failures: why nodes don't have it.
        tally: all calls.
        cpu: seconds that the nodes used.
        memory: the most bytes that their processes used, added up.
        seconds: until the last of them was done.
    """

    ready: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    cpu: float = 0.0
    memory: int = 0
    seconds: float = 0.0

    def add(self, share: dict[str, Any]) -> None:
        """Adds what one process has told."""
        self.ready = sorted([*self.ready, *share["ready"]])
        self.took = sorted([*self.took, *share["took"]])
        self.repeated += share["repeated"]
        self.failures += share["failures"]
        self.tally.join(share["calls"])
        self.cpu += share["cpu"]
        self.memory += share["memory"]


class Crew:
    """Processes whose nodes are there, and hold nothing."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    async def pull(self) -> Pulled:
        """Has all nodes pull.

        Raises:
            CrewError: a process has ended.
        """
        begun, pulled = asyncio.get_running_loop().time(), Pulled()
        for process in self._processes:
            _say(process, "go")
        for share in await asyncio.gather(*map(_heard, self._processes)):
            pulled.add(share)
        pulled.seconds = asyncio.get_running_loop().time() - begun
        return pulled


@asynccontextmanager
async def crew_of(spec: FleetSpec, port: int) -> AsyncIterator[Crew]:
    """Starts the nodes, empty; at the end, however it comes, they give up what they hold.

    Args:
        spec: the fleet.
        port: of the source, on 127.0.0.1.

    Raises:
        CrewError: a process has ended, or couldn't clean up before or after.
    """
    processes = [
        await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE, limit=LINE)
        for _ in range(min(spec.processes, spec.nodes))
    ]
    try:
        for number, process in enumerate(processes):
            order = {"spec": spec.encode(), "process": number, "port": port}
            _say(process, json.dumps(order))
        _check_left([await _heard(process) for process in processes])
        yield Crew(processes)
    finally:
        left = await _ended(processes)
    _check_left(left)


async def _ended(processes: list[Process]) -> list[dict[str, Any]]:
    """Has all of them clean up, and ends those that don't in time."""
    try:
        async with asyncio.timeout(END):
            return list(await asyncio.gather(*map(_end, processes)))
    except (TimeoutError, CrewError) as error:
        return [{"left": "unknown", "why": f"{type(error).__name__}: {error}"}]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _end(process: Process) -> dict[str, Any]:
    """Closes its input, and returns the last that it says."""
    assert process.stdin is not None
    process.stdin.close()
    while "left" not in (heard := await _heard(process)):
        pass  # it had pulled before it was told to end
    await process.wait()
    return heard


def _check_left(answers: list[dict[str, Any]]) -> None:
    failed = [answer for answer in answers if answer["left"]]
    if failed:
        raise CrewError(f"nodes couldn't give up what they hold: {failed}; run it again")


def _say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")


async def _heard(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise CrewError(f"a process with nodes ended, with {await process.wait()}")
    heard: dict[str, Any] = json.loads(line)
    return heard
