"""Cancels the tasks of a flow one by one: each before its first step, and at each await."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine that tells whenever it begins to wait."""

    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps
        self.__name__ = getattr(inner, "__qualname__", type(inner).__name__)

    def send(self, value: Any) -> Any:
        waits_for = self._inner.send(value)
        self._steps.waits(self.__name__)
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._inner.throw(*error)
        self._steps.waits(self.__name__)
        return waits_for

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())


class Steps:
    """The points at which a task of a flow can be cancelled, in the order in which they come.

    Attributes:
        tasks: all that the flow has begun.
        struck: which task was cancelled, and where; "" if the flow had ended by then.
    """

    def __init__(self, strike: int) -> None:
        """Cancels the task that comes to point `strike`, from 0."""
        self._strike = strike
        self._passed = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.struck = ""

    def _passes(self) -> bool:
        self._passed += 1
        return self._passed == self._strike + 1

    def make(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        """Makes a task: a loop's task factory."""
        watched = _Watched(work, self)
        task = asyncio.Task(watched, loop=loop, **options)
        self.tasks.append(task)
        if self._passes():
            self.struck = f"{watched.__name__} before its first step"
            task.cancel()
        return task

    def waits(self, name: str) -> None:
        """A task begins to wait."""
        if self._passes():
            task = asyncio.current_task()
            assert task is not None
            self.struck = f"{name} at its await number {self._passed}"
            task.get_loop().call_soon(task.cancel)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts for all tasks that are made in the block, and what they make."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self.make)
        try:
            yield
        finally:
            loop.set_task_factory(None)

    async def ended(self) -> None:
        """Waits until all tasks that the flow has begun are over."""
        done = 0
        while done < len(self.tasks):
            done = len(self.tasks)
            await asyncio.wait(self.tasks)
            await asyncio.sleep(0)
