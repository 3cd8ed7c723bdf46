"""The thread pools in which everything that blocks is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import structlog

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class Workers:
    """Two bounded pools: one that waits for the store, one that hashes."""

    def __init__(self, store_threads: int, hash_threads: int) -> None:
        self._store = ThreadPoolExecutor(store_threads, "store")
        self._hash = ThreadPoolExecutor(hash_threads, "hash")

    async def store(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Runs a call that waits for the object store."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store, partial(call, *args, **kwargs))

    async def hash(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Runs a call that computes with the GIL released."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hash, partial(call, *args, **kwargs))

    def close(self) -> None:
        """Ends the pools; calls under way are waited for, those queued are not begun."""
        self._store.shutdown(cancel_futures=True)
        self._hash.shutdown(cancel_futures=True)


class Background:
    """Tasks that outlive the request that began them, waited for at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def carry(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Runs `work` to its end even if who waits for it is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs `work` for nobody in particular; an error in it is logged."""
        self.carry(work).add_done_callback(_log_failure)

    async def drain(self, grace: float) -> int:
        """Waits up to `grace` seconds; returns how many tasks were cancelled then."""
        tasks = set(self._tasks)
        if not tasks:
            return 0
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.warning("background work failed", error=str(error), kind=type(error).__name__)
