"""Tasks that outlive the request that began them, and loops that live as long as the process.

What fails is told to whoever waits for it, and logged where nobody does.
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
"""Seconds that a cancelled task gets to end before it is cancelled again."""
ATTEMPTS: Final = 10
"""How often a task is cancelled until it is left behind."""


class Background:
    """Tasks that outlive the request that began them, waited for at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def carry(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs `work` to its end even if who waits for it is cancelled; see `wait`."""
        task = begin(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self, task: asyncio.Task[Result]) -> Result:
        """Waits for what is carried; if it fails when its waiter has left, that is logged.

        Raises:
            whatever the task does.
        """
        try:
            return await wait_for_end(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_unheard)
            raise

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Carries `work`, and waits for it.

        Raises:
            whatever it does.
        """
        return await self.wait(self.carry(work))

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs `work` for nobody in particular, in its own time; an error in it is logged."""
        with unbounded():
            task = self.carry(work)
        task.add_done_callback(_log_failure)
        return task

    async def drain(self, grace: float) -> int:
        """Waits up to `grace` seconds; returns how many tasks were cancelled then.

        What the tasks start in turn is waited for too.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._tasks and loop.time() < deadline:
            await asyncio.wait(set(self._tasks), timeout=deadline - loop.time())
        late = set(self._tasks)
        await end(late)
        return len(late)


def loop_of(doing: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begins what goes on for as long as the process; that it failed is logged.

    Args:
        doing: what it does, for the log.
        work: to be cancelled at the end.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if error := failure(task):
            log.error("a loop failed", doing=doing, reason=because(error), kind=_kind(error))

    task = begin(work)
    task.add_done_callback(ended)
    return task


async def end(tasks: Collection[asyncio.Task[Any]], attempts: int = ATTEMPTS) -> bool:
    """Cancels tasks until they have ended, at most `attempts` times; returns whether all have.

    One cancellation isn't enough: `asyncio.wait_for` of Python 3.11, through which
    redis-py sends, loses one that comes in the moment in which what it waits for is done.
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
        log.warning("background work failed", reason=because(error), kind=_kind(error))


def _log_unheard(task: asyncio.Task[Any]) -> None:
    """A failure of which the caller, who has left, isn't told: to be refused is usual."""
    error = failure(task)
    if isinstance(error, HoldfastError):
        log.debug("a call failed after its client had left", reason=because(error))
    elif error:
        log.error("an error that nobody waited for", exc_info=error)


def _kind(error: BaseException) -> str:
    return type(error).__name__
