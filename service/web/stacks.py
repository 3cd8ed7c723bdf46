"""What every thread and every task is doing at this moment, in words.

Only the interpreter is asked, not the loop: this works, and matters most, when the loop hangs.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

DEEPEST: Final = 64
"""Frames of a thread or a task that are shown."""
MOST: Final = 5_000
"""Tasks that are looked at; some microseconds each."""
WIDEST: Final = 100
"""Different stacks of tasks that are shown, the most frequent first."""


def thread_stacks() -> str:
    """Returns the stack of each thread, the main one's first."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    main = threading.main_thread().ident
    parts = []
    for ident, frame in sorted(sys._current_frames().items(), key=lambda one: one[0] != main):  # noqa: SLF001 -- the documented way
        thread = threads.get(ident)
        name = f"{thread.name} ({thread.native_id})" if thread else "unknown to Python"
        parts.append(f"thread {name}\n{''.join(traceback.format_stack(frame, DEEPEST))}")
    return "\n".join(parts)


def task_stacks(loop: asyncio.AbstractEventLoop) -> str:
    """Returns the stacks of a loop's tasks, each once with how many tasks have it."""
    tasks = list(asyncio.all_tasks(loop))
    counted: Counter[tuple[str, ...]] = Counter()
    names: dict[tuple[str, ...], str] = {}
    for task in tasks[:MOST]:
        stack = tuple(_awaiting(task.get_coro()))
        counted[stack] += 1
        names.setdefault(stack, task.get_name())
    lines = [f"{len(tasks)} tasks, {min(len(tasks), MOST)} of them looked at"]
    for stack, times in counted.most_common(WIDEST):
        lines.append(f"\n{times} times, like {names[stack]}")
        lines += [f"  {line}" for line in stack]
    if len(counted) > WIDEST:
        lines.append(f"\nand {len(counted) - WIDEST} other stacks")
    return "\n".join([*lines, ""])


def _awaiting(work: Any) -> Iterator[str]:  # noqa: ANN401 -- coroutines, generators, and what imitates them
    """Yields the places in which a coroutine waits, from the outermost on."""
    for _ in range(DEEPEST):
        frame = _frame(work)
        if frame is None:
            if work is not None:
                yield f"waits for {type(work).__name__}"
            return
        code = frame.f_code
        yield f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
        work = _awaited(work)


def _frame(work: object) -> FrameType | None:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(work, name, None)
        if isinstance(frame, FrameType):
            return frame
    return None


def _awaited(work: object) -> object:
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        if hasattr(work, name):
            return getattr(work, name)
    return None
