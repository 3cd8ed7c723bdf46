"""A store whose calls are operations on an event loop, for tests that call it from a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import cast

from holdfast import switching
from holdfast.storage.port import Entry, ObjectStore, PendingUpload
from holdfast.storage.s3 import S3Store
from tests.stores.wrapped import Result, Wrapped

Way = Callable[[S3Store], S3Store]
"""Makes a store of one that is called in a certain way: in threads, or on a loop."""
NewLoop = Callable[[], asyncio.AbstractEventLoop]
_END = object()


@dataclass(frozen=True, slots=True)
class LoopThread:
    """A loop that runs in a thread of its own, and threads for what blocks."""

    loop: asyncio.AbstractEventLoop
    threads: ThreadPoolExecutor

    def carry_out(self, call: Callable[[], Result]) -> Result:
        """Carries a call out on the loop, in the caller's context, and waits for its outcome."""
        context = copy_context()

        async def carried() -> Result:
            return await switching.begin(call, self.threads, context)

        return asyncio.run_coroutine_threadsafe(carried(), self.loop).result()

    def on_loop(self, store: S3Store) -> S3Store:
        """A store that looks the same to a test."""
        return cast("S3Store", Looped(store, self))


class Looped(Wrapped):
    """Carries every request out on the loop, also each page of a listing."""

    def __init__(self, inner: ObjectStore, thread: LoopThread) -> None:
        super().__init__(inner)
        self.thread = thread

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def request(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        del operation, key
        return self.thread.carry_out(call)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        return self._stepwise(self.inner.list(prefix, start_after))

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        return self._stepwise(self.inner.list_uploads(prefix))

    def _stepwise(self, steps: Iterator[Result]) -> Iterator[Result]:
        while (step := self.thread.carry_out(lambda: next(steps, _END))) is not _END:
            yield cast("Result", step)

    def now(self) -> float:
        return self.thread.carry_out(self.inner.now)

    def check_access(self) -> None:
        self.thread.carry_out(self.inner.check_access)


@contextmanager
def loop_thread(new_loop: NewLoop) -> Iterator[LoopThread]:
    """Runs a loop in a thread for the body of the `with`."""
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
    thread.start()
    try:
        with ThreadPoolExecutor(16, "apart") as threads:
            yield LoopThread(loop, threads)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
