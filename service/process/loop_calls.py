"""Carries small calls to the store out on the loop: they switch to it while they wait.

At most as many are under way as there are threads for the store; the others wait in turn. So the
store gets no more requests at once than from threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from typing import TypeVar

from holdfast import switching
from holdfast.deadlines import Deadline
from holdfast.errors import Busy

Result = TypeVar("Result")


class LoopCalls:
    """The calls on the loop, and those that wait for their turn.

    Attributes:
        queued: how many calls wait for their turn.
        under_way: how many are carried out.
    """

    def __init__(self, most: int, threads: Executor) -> None:
        """Begins without calls.

        Args:
            most: calls at once.
            threads: run what blocks all the same, such as boto3.
        """
        self.queued = 0
        self._threads = threads
        self.under_way = 0
        self._turns = asyncio.Semaphore(most)
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(
        self,
        call: Callable[[], Result],
        bound: Callable[[], Deadline | None],
        gives_back: Sequence[Callable[[], None]] = (),
    ) -> Result:
        """Runs a call, under a deadline. If the caller leaves, the call still ends by itself.

        Args:
            call: the call, which waits only by `switching`.
            bound: sets, in the call's context, the deadline from this moment on.
            gives_back: called when the call has ended, or will never begin.

        Raises:
            Busy: its turn hadn't come when the deadline passed.
        """
        context = copy_context()
        try:
            await self._turn(context.run(bound))
        except BaseException:
            _all(gives_back)
            raise
        self.under_way += 1
        self._idle.clear()

        def carried_out() -> Result:
            try:
                return call()
            finally:
                self._ended()
                _all(gives_back)

        outcome = switching.begin(carried_out, self._threads, context)
        return outcome.result() if outcome.done() else await outcome

    async def _turn(self, deadline: Deadline | None) -> None:
        if not self._turns.locked():
            await self._turns.acquire()  # at once
            return
        self.queued += 1
        try:
            async with asyncio.timeout(deadline.left if deadline else None):
                await self._turns.acquire()
        except TimeoutError:
            seconds = deadline.seconds if deadline else 0.0
            raise Busy(
                f"no turn at the store came within {seconds:.3g} s: too many requests wait for "
                "one; try again"
            ) from None
        finally:
            self.queued -= 1

    def _ended(self) -> None:
        self._turns.release()
        self.under_way -= 1
        if not self.under_way:
            self._idle.set()

    async def drain(self) -> None:
        """Waits until no call is under way."""
        await self._idle.wait()


def _all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()
