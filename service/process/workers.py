"""The thread pools that run everything that blocks.

A blocking call can't be interrupted, even if nobody waits for it any more: its thread stays busy,
and counts as busy, until the store answers. Small calls to a store that can switch need no thread:
see `loop_calls`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import structlog

from holdfast.deadlines import Deadline, begin, tighten
from holdfast.errors import Busy
from holdfast.service.process.loop_calls import LoopCalls
from holdfast.service.process.permits import Permit

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)

RESERVED: Final = 4
"""One in this many of the store's threads never moves parts or blocks, so that small requests
don't wait behind them."""
HASHING_YIELDS: Final = 10
"""Added to the niceness of the threads that hash: they compute without a pause, and small calls
would wait for a core behind them. This acts within one container only, because Linux weighs
containers by their shares."""


class Hashing(Protocol):
    """Threads that hash, which is all that most of this program needs of `Workers`."""

    async def hash(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Runs a call that computes with the GIL released."""
        ...


class Workers:
    """Two bounded pools of threads: one waits for the store, one hashes."""

    def __init__(
        self,
        store_threads: int,
        hash_threads: int,
        call_deadline: float | None = None,
        *,
        switches: bool = False,
    ) -> None:
        """Makes the pools; their threads start with the first calls.

        Args:
            store_threads: how many threads wait for the store.
            hash_threads: how many threads hash.
            call_deadline: seconds that a small call to the store may take; None: no limit.
            switches: whether the store's small requests can be made on the loop.
        """
        self._small = partial(tighten, call_deadline)
        self._store = ThreadPoolExecutor(store_threads, "store")
        self._store_threads = store_threads
        self._looped = LoopCalls(store_threads, self._store) if switches else None
        self._asked = self._hashing = 0
        reserved = max(1, store_threads // RESERVED)
        self._bulk = asyncio.Semaphore(max(1, store_threads - reserved))
        self._hash = ThreadPoolExecutor(hash_threads, "hash", initializer=_yield_to_others)

    @property
    def queued(self) -> int:
        """How many calls wait for one of the store's threads, or for their turn on the loop."""
        waiting = self._looped.queued if self._looped else 0
        return waiting + max(0, self._asked - self._store_threads)

    @property
    def asking(self) -> int:
        """How many calls to the store are being carried out."""
        switching = self._looped.under_way if self._looped else 0
        return switching + min(self._asked, self._store_threads)

    @property
    def hashing(self) -> int:
        """How many calls compute, or wait for a thread that computes."""
        return self._hashing

    def store(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Coroutine[Any, Any, Result]:
        """Runs a small call to the object store; its deadline includes the wait for a thread.

        Raises:
            Busy: the deadline of this call, or of the RPC that it serves, passed while it waited.
        """
        return self._in_time(partial(call, *args, **kwargs), self._small)

    def quick(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Coroutine[Any, Any, Result]:
        """Runs a small call as `store` does, but on the loop if the store can switch.

        It must compute little, and hold no lock during a request.

        Raises:
            Busy: the deadline of this call, or of the RPC that it serves, passed while it waited.
        """
        started = partial(call, *args, **kwargs)
        if self._looped is None:
            return self._in_time(started, self._small)
        return self._looped.run(started, self._small)

    def patient(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Coroutine[Any, Any, Result]:
        """Runs a call without a deadline, whatever the deadline of its caller.

        The call is bounded only by how long the store may be silent.
        """
        return self._in_time(partial(call, *args, **kwargs), _unbound)

    def bulk(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Coroutine[Any, Any, Result]:
        """Runs a call that moves a part or a block; some threads are always left for other calls.

        The call may take as long as bytes move.
        """
        return self.send((), call, *args, **kwargs)

    async def send(
        self,
        held: Sequence[Permit],
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Runs a call as `bulk` does; permits for it, such as room for its bytes, pass to the call.

        They are released when no thread is busy with the call any more.
        """
        releases = await self._admitted(held)
        return await self._in_time(partial(call, *args, **kwargs), _unbound, *releases)

    async def light(
        self,
        held: Sequence[Permit],
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Runs a call as `send` does, but on the loop if the store can switch.

        It must compute little, and hold no lock during a request.
        """
        if self._looped is None:
            return await self.send(held, call, *args, **kwargs)
        releases = await self._admitted(held)
        return await self._looped.run(partial(call, *args, **kwargs), _unbound, releases)

    async def _admitted(self, held: Sequence[Permit]) -> list[Callable[[], None]]:
        """Waits until one more call may move bytes; returns what releases all that it has then."""
        releases = [permit.move().release for permit in held]
        try:
            await self._bulk.acquire()
        except BaseException:
            for release in releases:
                release()
            raise
        return [self._bulk.release, *releases]

    async def _in_time(
        self,
        call: Callable[[], Result],
        bound: Callable[[], Deadline | None],
        *gives_back: Callable[[], None],
    ) -> Result:
        """Runs a call in a thread, under a deadline.

        A call that has begun ends by itself, because its requests know the deadline. A call that
        still waits for a thread when the deadline passes never begins.

        Args:
            call: the call that blocks.
            bound: sets, in the call's context, the deadline from this moment on.
            gives_back: called when no thread is busy with the call any more, however it ended.
        """
        loop, context, overdue = asyncio.get_running_loop(), copy_context(), False
        deadline = context.run(bound)
        self._asked += 1
        running: Future[Result] | None = None
        try:
            running = started = self._store.submit(context.run, call)

            def expire() -> None:
                nonlocal overdue
                overdue = started.cancel()

            timer = None if deadline is None else loop.call_later(deadline.left, expire)
            try:
                return await asyncio.wrap_future(started)
            finally:
                if timer is not None:
                    timer.cancel()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not overdue or deadline is None or (task and task.cancelling()):
                raise
            raise Busy(
                f"no thread for the store became free within {deadline.seconds:.3g} s: too "
                "many requests wait for one; try again"
            ) from None
        finally:
            free = partial(self._free, gives_back)
            if running is None or running.done():
                free()
            else:
                running.add_done_callback(partial(_call_in, loop, free))

    def _free(self, gives_back: Collection[Callable[[], None]]) -> None:
        self._asked -= 1
        for give_back in gives_back:
            give_back()

    async def hash(
        self,
        call: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Runs a call that computes with the GIL released."""
        loop = asyncio.get_running_loop()
        self._hashing += 1
        try:
            return await loop.run_in_executor(self._hash, partial(call, *args, **kwargs))
        finally:
            self._hashing -= 1

    async def close(self, grace: float) -> bool:
        """Ends the pools: queued calls never begin.

        Waits at most `grace` seconds for calls under way, without blocking the loop.
        Returns whether all of them have ended.
        """
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        until = loop.time() + grace
        if self._looped is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._looped.drain()

        def join() -> None:
            for pool in (self._store, self._hash):
                pool.shutdown(cancel_futures=True)
            with suppress(RuntimeError):  # the loop no longer waits, and is closed
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=join, name="workers-close", daemon=True).start()
        try:
            async with asyncio.timeout_at(until):
                await ended.wait()
        except TimeoutError:
            log.warning("store threads still busy; they are left behind", seconds=grace)
            return False
        return True


def _call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], None], _: Future[Any]) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nobody needs the count
        loop.call_soon_threadsafe(call)


def _unbound() -> None:
    begin(None)


def _yield_to_others() -> None:
    """Makes the calling thread yield its core to every other thread."""
    if sys.platform == "linux":  # elsewhere, niceness belongs to the whole process
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it; the pool must start all the same
            niceness = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, niceness + HASHING_YIELDS)
