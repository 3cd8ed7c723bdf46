"""The bytes that all streams of a process may buffer together.

Streams that want more wait, first come first served. When that happens, the
idlest stream that holds part of a part is asked to spill it into a tail object:
otherwise streams that each hold half a part could wait for each other for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from holdfast.errors import ResourceExhausted


class Holder(Protocol):
    """A stream that buffers bytes."""

    @property
    def spillable(self) -> int:
        """Bytes that `spill` would give back now."""
        ...

    @property
    def last_used(self) -> float:
        """When bytes last came, in s of a monotonic clock."""
        ...

    async def spill(self) -> None:
        """Makes the buffered bytes durable elsewhere and gives them back."""
        ...


class BufferBudget:
    """A number of bytes, given out in order of asking."""

    def __init__(self, size: int, spawn: Callable[[Holder], None]) -> None:
        """Makes a budget.

        Args:
            size: bytes in all.
            spawn: runs a holder's spill in the background.
        """
        self.size = size
        self.free = size
        self._spawn = spawn
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._holders: set[Holder] = set()
        self._spilling: set[Holder] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def join(self, holder: Holder) -> None:
        """Makes a stream known, so that it can be asked to spill."""
        self._holders.add(holder)

    def leave(self, holder: Holder) -> None:
        """Forgets a stream."""
        self._holders.discard(holder)
        self._spilling.discard(holder)

    async def acquire(self, amount: int) -> None:
        """Waits for `amount` bytes.

        Raises:
            ResourceExhausted: more than there are in all.
        """
        if amount > self.size:
            raise ResourceExhausted(
                f"{amount} bytes must be buffered at once, and HOLDFAST_BUFFER_BUDGET is "
                f"{self.size}; raise it"
            )
        if self.acquire_at_once(amount):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, future))
        self._relieve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(amount)
            elif (amount, future) in self._waiting:
                self._waiting.remove((amount, future))
                self._hand_out()
            raise

    def acquire_at_once(self, amount: int) -> bool:
        """Takes `amount` bytes if they are free and nobody waits; returns whether it did."""
        if self._waiting or amount > self.free:
            return False
        self.free -= amount
        return True

    def release(self, amount: int) -> None:
        """Gives bytes back."""
        self.free += amount
        self._hand_out()

    def spilled(self, holder: Holder) -> None:
        """A stream's spill is through, well or not."""
        self._spilling.discard(holder)
        self._relieve()

    def _hand_out(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, future = self._waiting.popleft()
            if future.cancelled():
                continue
            self.free -= amount
            future.set_result(None)
        self._relieve()

    def _relieve(self) -> None:
        """Asks for as much to be spilled as the first in the queue lacks."""
        if not self._waiting:
            return
        coming = sum(holder.spillable for holder in self._spilling)
        lacking = self._waiting[0][0] - self.free - coming
        idle = sorted(self._holders - self._spilling, key=lambda holder: holder.last_used)
        for holder in idle:
            if lacking <= 0:
                return
            if holder.spillable:
                lacking -= holder.spillable
                self._spilling.add(holder)
                self._spawn(holder)
