"""Where CPU time goes: a thread looks at all others' stacks a hundred times a second.

Each stack is counted with the CPU time that its thread has used since the last look, by the
kernel's word. So a thread that waits doesn't count, and code that runs without the interpreter's
lock, as hashing does, counts as what has called it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final

INTERVAL: Final = 0.01
"""Seconds between two looks."""
DEEPEST: Final = 128
"""Frames of a stack that are kept, the outermost first."""
MOST: Final = 20_000
"""Different stacks that are counted; what is used in others is counted as `LOST`."""
LONGEST: Final = 60.0
"""Seconds of the longest profile."""
LOST: Final = ("too many different stacks",)
SAMPLER: Final = "profile"
"""The name of the thread that looks, which isn't counted."""

Stack = tuple[str, ...]
"""The thread's name, and the functions from the outermost on."""


class StackSampler:
    """Looks at all threads, and counts what each of their stacks uses."""

    def __init__(self) -> None:
        """Has seen nothing yet."""
        self.used: Counter[Stack] = Counter()
        """Microseconds of CPU by stack."""
        self._clocks: dict[int, int] = {}
        self._names: dict[object, str] = {}

    def look(self) -> None:
        """Adds what each thread has used since the last look to the stack that it has now."""
        threads = {one.ident: one for one in threading.enumerate() if one.name != SAMPLER}
        frames = sys._current_frames()  # noqa: SLF001 -- the documented way
        seen: dict[int, int] = {}
        for ident, frame in frames.items():
            thread = threads.get(ident)
            if thread is None or thread.native_id is None:
                continue
            now = cpu_time(thread.native_id)
            if now is None:
                continue
            seen[thread.native_id] = now
            used = now - self._clocks.get(thread.native_id, now)
            if used > 0:
                self._count((thread.name, *self._functions(frame)), used)
        self._clocks = seen

    def _count(self, stack: Stack, used: int) -> None:
        if stack not in self.used and len(self.used) >= MOST:
            stack = LOST
        self.used[stack] += used

    def _functions(self, innermost: FrameType) -> list[str]:
        found: list[str] = []
        frame: FrameType | None = innermost
        while frame is not None:
            code = frame.f_code
            name = self._names.get(code)
            if name is None:
                name = self._names[code] = f"{code.co_qualname} ({_short(code.co_filename)})"
            found.append(name)
            frame = frame.f_back
        found.reverse()
        return found[:DEEPEST]


def cpu_time(native_id: int) -> int | None:
    """Returns the µs of CPU of a thread; None if it has ended, or the system has no such clock.

    The clock's number is made as glibc makes it (`pthread_getcpuclockid`), which would crash if the
    thread had ended meanwhile.
    """
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime_ns((~native_id << 3) | 6) // 1000
    except OSError:
        return None


def profile(seconds: float, stop: threading.Event) -> Mapping[Stack, int]:
    """Returns the µs of CPU that each stack has used; it blocks, in a thread of its own.

    Args:
        seconds: how long to look.
        stop: ends it early.
    """
    sampler = StackSampler()
    until = time.perf_counter() + min(seconds, LONGEST)
    while time.perf_counter() < until and not stop.wait(INTERVAL):
        sampler.look()
    return sampler.used


def collapsed(used: Mapping[Stack, int]) -> str:
    """Returns a profile as lines `frame;frame microseconds`, from which flame graphs are made."""
    return "".join(
        f"{';'.join(frame.replace(';', ',') for frame in stack)} {amount}\n"
        for stack, amount in sorted(used.items())
    )


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
