"""The bytes of messages that are on their way in, or not carried out yet, of all streams.

    ask → the message is read → came → it is carried out → handled → ask …

gRPC collects a message before anybody sees it, as soon as it is asked for one. So a
stream asks here first; one that must wait leaves its message with its client, whom
HTTP/2's flow control stops after 64 KiB. How large the next message is nobody knows: it is
taken to be as large as the largest so far, and no larger than what the blob lacks.

A stream that has asked and gets nothing may wait for its client for hours. After
`SILENCE` its share is lent to whoever waits, and what it sends in the end counts beyond
the size: then the others wait until that is carried out. It is taken for slow, and needs
no share, until a message comes as soon as it is asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

SIZE: Final = 32 * 2**20
"""Bytes that all messages have together: two of the largest."""
WINDOW: Final = 64 * 2**10
"""Bytes of a message that gRPC takes from a client unasked; so small a one never waits."""
UNKNOWN: Final = 2**20
"""Bytes taken for the next message of a stream that has sent no data yet: containerd's most."""
SILENCE: Final = 2.0
"""Seconds without a message after which a stream's share is lent."""


class Intake:
    """A number of bytes for messages, given out in order of asking."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        """All of it is free.

        Args:
            size: bytes in all.
            clock: monotonic, in s.
        """
        self.size = size
        self.free = size
        self._clock = clock
        self._waiting: deque[tuple[int, Admission, asyncio.Future[None]]] = deque()
        self._reading: dict[Admission, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many streams wait."""
        return len(self._waiting)

    def now(self) -> float:
        """The time, in s of a monotonic clock."""
        return self._clock()

    def stream(self) -> Admission:
        """A place for one stream."""
        return Admission(self)

    async def ask(self, admission: Admission, amount: int) -> None:
        """Waits for `amount` bytes, or for all of it, where that is less."""
        amount = min(amount, self.size)
        if amount <= WINDOW or (not self._waiting and amount <= self.free):
            self._admit(admission, amount)
            return
        entry = (amount, admission, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self.lend()
        try:
            await entry[2]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._hand_out()
            raise

    def _admit(self, admission: Admission, amount: int) -> None:
        self._take(admission, amount)
        if amount:
            self._reading[admission] = self.now()

    def came(self, admission: Admission, amount: int) -> None:
        """A message is there, of another size perhaps than was asked for."""
        self._reading.pop(admission, None)
        self._take(admission, amount)
        self._hand_out()

    def _take(self, admission: Admission, amount: int) -> None:
        self.free += admission.taken - amount
        admission.taken = amount

    def _hand_out(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, admission, future = self._waiting.popleft()
            if not future.cancelled():
                self._admit(admission, amount)
                future.set_result(None)
        if self._waiting and self._reading and not self._timer:
            loop, silent_at = asyncio.get_running_loop(), self._silent_for_longest()[1] + SILENCE
            self._timer = loop.call_later(max(0.0, silent_at - self.now()), self.lend)

    def _silent_for_longest(self) -> tuple[Admission, float]:
        return next(iter(self._reading.items()))  # they are in order of asking

    def lend(self) -> None:
        """Gives to those who wait what silent streams have, those silent for longest first."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._reading:
            admission, since = self._silent_for_longest()
            if self.now() - since < SILENCE:
                break
            admission.slow = True
            self.came(admission, 0)
        self._hand_out()


class Admission:
    """One stream's share. Its calls come one at a time."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._largest: int | None = None
        self._asked = 0.0
        # Nobody is kept waiting for a first message: it has no data as a rule.
        self.slow = True
        self.taken = 0

    async def ask(self, lacking: int | None, *, promised: int = 0) -> None:
        """Waits until the next message may be read.

        Args:
            lacking: bytes that the blob lacks, as far as its size was declared.
            promised: bytes of it that the buffers have room for already. Then it never waits:
                those that it would wait for may be waiting for its part to be finished.
        """
        expected = UNKNOWN if self._largest is None else self._largest
        if self.slow or promised:
            expected = 0
        elif lacking is not None and lacking >= 0:  # less: the declaration was wrong
            expected = min(expected, lacking)
        await self._intake.ask(self, expected)
        self._asked = self._intake.now()

    def came(self, size: int, *, promised: int = 0) -> None:
        """A message with `size` bytes of data is there; the buffers have room for `promised`."""
        if size:
            self._largest = max(size, self._largest or 0)
        self.slow = self._intake.now() - self._asked >= SILENCE
        self._intake.came(self, max(0, size - promised))

    def handled(self) -> None:
        """The message is carried out, or there is none: its bytes are elsewhere, or gone."""
        self._intake.came(self, 0)
