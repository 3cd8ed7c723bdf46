"""Tasks of the event loop: made here only, so that no failure of one is ever left.

asyncio prints "Task exception was never retrieved", with a trace, where a task fails and nobody
awaits it any more: a client that left, or one of two that failed at once. Whoever awaits a task
that was begun here gets its failure as ever; where nobody does, nothing is printed, and what is
to be logged its maker logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def begin(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Begins a task."""
    task = asyncio.create_task(work)
    task.add_done_callback(failure)
    return task


def failure(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task that has ended failed with; None if it ended well, or was cancelled."""
    return None if task.cancelled() else task.exception()


async def wait_for_end(task: asyncio.Task[Result]) -> Result:
    """Waits for a task that goes on if whoever waits is cancelled.

    Raises:
        whatever the task does.
    """
    return await asyncio.shield(task)
