"""Limits how many parts all streams send to the store at once.

    a part was sent          → a little more, up to the configured number
    the store asks for less  → half as many, at least one

This is additive increase and multiplicative decrease, as in TCP (RFC 5681): frontends that
use the same store come to share its capacity, without knowing of each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from holdfast.service.process.permits import Permit


class UploadSlots:
    """Slots for parts, given out in the order of requests."""

    def __init__(self, most: int, throttled: Callable[[], int]) -> None:
        """Begins with `most` slots.

        Args:
            most: parts at once.
            throttled: returns how often the store has asked for less so far.
        """
        self._most = most
        self._throttled = throttled
        self._allowed = float(most)
        self._heard = throttled()
        self._under_way = 0
        self._cuts = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """How many parts may be under way now."""
        return int(self._allowed)

    async def acquire(self) -> Permit:
        """Waits for a slot, and returns it."""
        if not self._waiting and self._under_way < self.allowed:
            self._under_way += 1
        else:
            await self._turn()
        return Permit(partial(self._free, self._cuts))

    def _free(self, cuts: int) -> None:
        self._under_way -= 1
        self._learn(cuts)
        self._hand_out()

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._under_way -= 1
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._waiting and self._under_way < self.allowed:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._under_way += 1
                turn.set_result(None)

    def _learn(self, cuts: int) -> None:
        """Adapts the limit after a part that was begun when there had been `cuts` cuts."""
        heard, self._heard = self._heard, self._throttled()
        if self._heard == heard:
            self._allowed = min(self._most, self._allowed + 1 / self._allowed)
        elif cuts == self._cuts:
            # Parts that were under way at the last cut say nothing about the limit since then.
            self._cuts += 1
            self._allowed = max(1.0, self._allowed / 2)
