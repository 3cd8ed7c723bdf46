"""Tasks of the event loop: they are created only here, so that no failure of one is left over.

If a task fails and nobody awaits it any more, asyncio prints "Task exception was never retrieved"
with a trace: after a client has left, say, or if two tasks fail at once. A task that is begun here
still raises its failure when it is awaited; if it never is, nothing is printed, and the code that
began it logs what should be logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def begin(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Begins a task."""
    task = asyncio.create_task(work)
    task.add_done_callback(failure)
    return task


def failure(task: asyncio.Task[Any]) -> BaseException | None:
    """The exception of a task that has ended; None if it succeeded or was cancelled."""
    return None if task.cancelled() else task.exception()


def wait_for_end(task: asyncio.Future[Result]) -> Awaitable[Result]:
    """Waits for a task, or a future, which continues even if the caller is cancelled.

    Raises:
        whatever the task raises.
    """
    return asyncio.shield(task)
