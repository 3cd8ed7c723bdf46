"""Runs calls concurrently in a few threads, and yields their results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from holdfast.errors import HoldfastError

Item = TypeVar("Item")
Result = TypeVar("Result")


class ScrubStopped(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """The scrub was told to stop; the next run continues from there."""


class Abreast:
    """A pool of threads that ends once `stop` is set."""

    def __init__(self, workers: int, stop: threading.Event) -> None:
        self._workers = workers
        self._stop = stop

    def check(self) -> None:
        """Returns if the scrub may continue.

        Raises:
            Stopped: the scrub was told to stop.
        """
        if self._stop.is_set():
            raise ScrubStopped("the scrub was stopped; the next run continues where it stopped")

    def each(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields the results of `call` for all items, in order.

        Raises:
            Stopped: the scrub was told to stop; results of calls under way are lost.
        """
        waiting: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(self._workers, "scrub")
        try:
            for item in items:
                self.check()
                waiting.append(pool.submit(copy_context().run, call, item))
                if len(waiting) >= 2 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
