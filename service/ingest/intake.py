"""A limit on the bytes of all streams' messages that are being read or carried out.

    ask → the message is read → came → it is carried out → handled → ask …

As soon as gRPC is asked for a message, it collects all of it in memory. So a stream asks
here first. While it waits, its message stays with the client, which HTTP/2's flow control
stops after 64 KiB. The size of the next message is unknown: it is assumed to be that of the
largest so far, but no more than the blob lacks.

A stream that was admitted may wait for its client for hours. After `SILENCE` its share is
lent to streams that wait. The message that it gets in the end counts beyond the limit, and
the others wait until that message is carried out. Such a stream counts as slow, and needs
no share, until a message arrives promptly.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

SIZE: Final = 32 * 2**20
"""Bytes that all messages may have together: two of the largest."""
WINDOW: Final = 64 * 2**10
"""Bytes of a message that gRPC reads from a client unasked; one that small never waits."""
UNKNOWN: Final = 2**20
"""Assumed bytes of a stream's first message with data: the most that containerd sends."""
SILENCE: Final = 2.0
"""Seconds without a message after which a stream's share is lent."""


class Intake:
    """A number of bytes for messages, given out in the order of requests."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        """Begins with all bytes free.

        Args:
            size: bytes in all.
            clock: monotonic, in s.
        """
        self.size = size
        self.free = size
        self.clock = clock
        self._waiting: deque[tuple[int, Admission, asyncio.Future[None]]] = deque()
        self._reading: dict[Admission, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many streams wait."""
        return len(self._waiting)

    def stream(self) -> Admission:
        """Makes a share for one stream, which has no bytes yet."""
        return Admission(self)

    async def ask(self, admission: Admission, amount: int) -> None:
        """Waits for `amount` bytes, or for all bytes if that is less."""
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
        self.free += admission.taken - amount
        admission.taken = amount
        if amount:
            self._reading[admission] = self.clock()

    def came(self, admission: Admission, amount: int) -> None:
        """Records that a message arrived, perhaps of another size than was requested."""
        self._reading.pop(admission, None)
        self.free += admission.taken - amount
        admission.taken = amount
        if self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, admission, future = self._waiting.popleft()
            if not future.cancelled():
                self._admit(admission, amount)
                future.set_result(None)
        if self._waiting and self._reading and not self._timer:
            loop, silent_at = asyncio.get_running_loop(), self._silent_for_longest()[1] + SILENCE
            self._timer = loop.call_later(max(0.0, silent_at - self.clock()), self.lend)

    def _silent_for_longest(self) -> tuple[Admission, float]:
        return next(iter(self._reading.items()))  # they are in the order of admission

    def lend(self) -> None:
        """Lends the bytes of silent streams, the longest silent first, to streams that wait."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._reading:
            admission, since = self._silent_for_longest()
            if self.clock() - since < SILENCE:
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
        # A first message never waits: as a rule it has no data.
        self.slow = True
        self.taken = 0

    async def ask(self, lacking: int | None, *, promised: int = 0, announced: int = -1) -> None:
        """Waits until the next message may be read.

        Args:
            lacking: bytes that the blob lacks, as far as its size was declared.
            announced: bytes of the message, if the transport knows them; else less than 0.
            promised: bytes of the next message that the buffers already have room for. If there
                are any, it never waits: the streams that it would wait for may themselves be
                waiting until its part is finished.
        """
        expected = UNKNOWN if self._largest is None else self._largest
        if announced >= 0:
            expected = max(0, announced - promised)
        elif self.slow or promised:
            expected = 0
        elif lacking is not None and lacking >= 0:  # less: the declaration was wrong
            expected = min(expected, lacking)
        await self._intake.ask(self, expected)
        self._asked = self._intake.clock()

    def came(self, size: int, *, promised: int = 0) -> None:
        """Records a message of `size` bytes of data; the buffers have room for `promised`."""
        if size:
            self._largest = max(size, self._largest or 0)
        self.slow = self._intake.clock() - self._asked >= SILENCE
        self._intake.came(self, max(0, size - promised))

    def handled(self) -> None:
        """Records that the message was carried out, or that none came: it needs no room now."""
        self._intake.came(self, 0)
