"""Tasks that outlive the request that began them, and loops that run as long as the process.

If a task fails, its waiter gets the error; if nobody waits for it, the error is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, Final, TypeVar

import structlog

from holdfast.deadlines import unbounded
from holdfast.errors import HoldfastError, because
from holdfast.tasks import begin, failure, wait_for_end

Result = TypeVar("Result")

log = structlog.get_logger(__name__)

PATIENCE: Final = 1.0
"""Seconds that a cancelled task has to end before it is cancelled again."""
ATTEMPTS: Final = 10
"""How often a task is cancelled before it is abandoned."""


class Background:
    """Tasks that outlive the request that began them; `drain` waits for them at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def carry(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs `work` to its end even if its waiter is cancelled; see `wait`."""
        task = begin(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self, task: asyncio.Task[Result]) -> Result:
        """Waits for a task; if it fails after its waiter has left, the error is logged.

        Raises:
            whatever the task raises.
        """
        try:
            return await wait_for_end(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_unheard)
            raise

    def finish(self, work: Coroutine[Any, Any, Result]) -> Coroutine[Any, Any, Result]:
        """Runs `work` as `carry` does, and waits for it.

        Raises:
            whatever `work` raises.
        """
        return self.wait(self.carry(work))

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs `work` without a deadline, and without a waiter; an error in it is logged."""
        with unbounded():
            task = self.carry(work)
        task.add_done_callback(_log_failure)
        return task

    async def drain(self, grace: float) -> int:
        """Waits up to `grace` seconds, then cancels the rest; returns how many tasks that was.

        Tasks that these tasks start are waited for, too.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._tasks and loop.time() < deadline:
            await asyncio.wait(set(self._tasks), timeout=deadline - loop.time())
        late = set(self._tasks)
        await end(late)
        return len(late)


def loop_of(doing: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begins a loop that runs as long as the process; if it fails, the error is logged.

    Args:
        doing: what the loop does, for the log.
        work: the loop; the caller cancels it at the end.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if error := failure(task):
            log.error(
                "background loop failed", doing=doing, reason=because(error), error=_class(error)
            )

    task = begin(work)
    task.add_done_callback(ended)
    return task


async def end(tasks: Collection[asyncio.Task[Any]], attempts: int = ATTEMPTS) -> bool:
    """Cancels tasks until they have ended, at most `attempts` times; returns whether all have.

    One cancellation isn't enough: `asyncio.wait_for` of Python 3.11, through which redis-py
    sends, loses a cancellation that arrives just when the awaited work is done.
    """
    for _ in range(attempts):
        running = [task for task in tasks if not task.done()]
        if not running:
            return True
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=PATIENCE)
    return all(task.done() for task in tasks)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if error := failure(task):
        log.warning("background task failed", reason=because(error), error=_class(error))


def _log_unheard(task: asyncio.Task[Any]) -> None:
    """Logs a failure whose caller has left; refusals are usual, so they are logged at debug."""
    error = failure(task)
    if isinstance(error, HoldfastError):
        log.debug("call failed after its client had left", reason=because(error))
    elif error:
        log.error("call failed unexpectedly after its client had left", exc_info=error)


def _class(error: BaseException) -> str:
    return type(error).__name__
