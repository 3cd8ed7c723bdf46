"""A limit on the bytes of all streams' messages that are being read or carried out.

    ask → the message is read → came → it is carried out → handled → ask …

As soon as gRPC is asked for a message, it collects all of it in memory. So a stream asks
here first. While it waits, its message stays with the client, which HTTP/2's flow control
stops after a first window.

Our own transport tells a message's length beforehand, and lets as much of it come as was asked for.
If less is free than a message needs, its stream gets what there is, and asks for the rest later.
Messages that have begun to come go first, and those of parts that have their room in the buffers.
These have `LANE` bytes of their own, because what is free otherwise may depend on them: others'
messages may be waiting for the buffers until such a part is full; and if all that has begun waits
for its rest, nothing becomes free until one of them has it. A client whose message stands still
while others wait is given up: its stream ends (`arrival.py`).

grpcio tells no length. Then the next message is assumed to be as large as the largest so far, but
no larger than what the blob lacks. A stream that was admitted may wait for its client for hours:
after `SILENCE` its share is lent to streams that wait. The message that it gets in the end counts
beyond the limit, and the others wait until that message is carried out. Such a stream counts as
slow, and needs no share, until a message arrives promptly.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.service.ingest.arrival import Arrival, MessageSource

SIZE: Final = 32 * 2**20
"""Bytes that all messages may have together: two of the largest."""
LANE: Final = 16 * 2**20
"""Bytes, in addition, for messages that others may depend on: one of the largest."""
WINDOW: Final = 64 * 2**10
"""Bytes of a message that gRPC reads from a client unasked; one that small never waits."""
SMALL: Final = 8 * 2**10
"""Bytes of a message that never waits, if its length is told: a STAT, a COMMIT, a diff's WRITE."""
STEP: Final = 2**20
"""Least bytes of a message that are let come, unless it needs less: smaller steps cost more than
they help."""
UNKNOWN: Final = 2**20
"""Assumed bytes of a stream's first message with data: the most that containerd sends."""
SILENCE: Final = 2.0
"""Seconds without a message after which a stream's share is lent, if lengths aren't told."""


@dataclass(slots=True, eq=False)
class _Ask:
    """A request of `amount` bytes.

    Attributes:
        admission: whose it is.
        amount: how many.
        told: whether the length of the message is known: then fewer bytes help, too.
        promised: whether its part has its room in the buffers.
        turn: done once it was granted.
    """

    admission: Admission
    amount: int
    told: bool
    promised: bool
    turn: asyncio.Future[None]


@dataclass(slots=True)
class _Reading:
    """A message that it is the client's turn to send: since when, in s, and how it comes.

    Attributes:
        arrival: None if its length isn't told.
    """

    since: float
    arrival: Arrival | None

    def due(self, now: float) -> float:
        """When others need not wait for it any more, in s."""
        return self.since + SILENCE if self.arrival is None else self.arrival.due(now)


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
        self._lane = 0
        self._first: deque[_Ask] = deque()
        self._others: deque[_Ask] = deque()
        self._holding: set[Admission] = set()  # those that have bytes
        self._reading: dict[Admission, _Reading] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many streams wait."""
        return len(self._first) + len(self._others)

    def stream(self, client: MessageSource | None = None) -> Admission:
        """Makes a share for one stream, which has no bytes yet."""
        return Admission(self, client)

    async def ask(self, admission: Admission, amount: int, *, told: bool, promised: bool) -> None:
        """Waits for `amount` bytes; or, if the length is `told`, for a part of them."""
        if not told:
            amount = min(amount, self.size)
        if amount <= (SMALL if told else WINDOW) or (not self.waiting and amount <= self.free):
            self._admit(admission, amount, told=told)
            return
        ask = _Ask(admission, amount, told, promised, asyncio.get_running_loop().create_future())
        queue = self._first if promised or admission.granted else self._others
        queue.append(ask)
        self._hand_out()
        if not ask.turn.done():
            self.lend()
        try:
            await ask.turn
        except asyncio.CancelledError:
            if ask in queue:
                queue.remove(ask)
                self._hand_out()
            raise

    def _admit(self, admission: Admission, amount: int, *, told: bool, lane: int = 0) -> None:
        self._hold(admission, admission.taken + amount, admission.lane + lane)
        now, client = self.clock(), admission.client
        if told and client is not None:
            self._reading[admission] = _Reading(now, Arrival(client, now))
        elif amount and not told:
            self._reading[admission] = _Reading(now, None)

    def _hold(self, admission: Admission, taken: int, lane: int = 0) -> None:
        self.free += admission.taken - taken
        self._lane += lane - admission.lane
        admission.taken, admission.lane = taken, lane
        if taken or lane:
            self._holding.add(admission)
        else:
            self._holding.discard(admission)

    def waits(self, admission: Admission) -> None:
        """Records that all that was admitted has come: it isn't the client's turn."""
        self._reading.pop(admission, None)

    def came(self, admission: Admission, amount: int) -> None:
        """Records that a message arrived, perhaps of another size than was requested."""
        self._reading.pop(admission, None)
        self._hold(admission, amount)
        if self.waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        while queue := self._first or self._others:
            ask = queue[0]
            if not ask.turn.done():
                if not self._grant(ask):
                    break
                ask.turn.set_result(None)
            queue.popleft()
        if self.waiting and self._reading and not self._timer:
            now = self.clock()
            due = min(one.due(now) for one in self._reading.values())
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self.lend)

    def _grant(self, ask: _Ask) -> bool:
        """Grants a request, or a part of it; returns False if nothing can be granted now."""
        if ask.amount <= self.free or (ask.told and self.free >= STEP):
            self._admit(ask.admission, min(ask.amount, self.free), told=ask.told)
        elif self._may_pass(ask):
            self._admit(ask.admission, 0, told=ask.told, lane=ask.amount)
        else:
            return False
        return True

    def _may_pass(self, ask: _Ask) -> bool:
        if self._lane and self._lane + ask.amount > LANE:
            return False
        stuck = len(self._holding) == sum(bool(one.admission.granted) for one in self._first)
        return ask.promised or stuck

    def lend(self) -> None:
        """Ends waiting for clients that are due: lends their bytes, or has their streams end."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now = self.clock()
        for admission, reading in list(self._reading.items()):
            if not self.waiting:
                break
            if reading.due(now) > now:
                continue
            if reading.arrival is not None:
                del self._reading[admission]
                reading.arrival.give_up()
            else:
                admission.slow = True
                self.came(admission, 0)
        self._hand_out()


class Admission:
    """One stream's share. Its calls come one at a time."""

    def __init__(self, intake: Intake, client: MessageSource | None) -> None:
        self._intake = intake
        self._largest: int | None = None
        self._asked = 0.0
        self.client = client
        # A first message never waits: as a rule it has no data.
        self.slow = True
        self.taken = self.lane = 0

    @property
    def granted(self) -> int:
        """Bytes that it has."""
        return self.taken + self.lane

    async def ask(self, lacking: int | None, *, promised: int = 0, announced: int = -1) -> int:
        """Waits until the next message, or more of it, may be read.

        Args:
            lacking: bytes that the blob lacks, as far as its size was declared.
            announced: bytes of the message, if the transport knows them; else less than 0.
            promised: bytes of the next message that the buffers already have room for. If there
                are any, it doesn't wait for others, or only for others of its kind: the streams
                that it would wait for may themselves be waiting until its part is finished.

        Returns:
            How many bytes of the message may come so far, if `announced`.
        """
        told = announced >= 0
        if told:
            self._intake.waits(self)
            expected = announced - self.granted
        elif self.slow or promised:
            expected = 0
        else:
            expected = UNKNOWN if self._largest is None else self._largest
            if lacking is not None and lacking >= 0:  # less: the declaration was wrong
                expected = min(expected, lacking)
        await self._intake.ask(self, expected, told=told, promised=bool(promised))
        self._asked = self._intake.clock()
        return self.granted

    def came(self, size: int, *, promised: int = 0) -> None:
        """Records a message of `size` bytes of data; the buffers have room for `promised`."""
        if size:
            self._largest = max(size, self._largest or 0)
        self.slow = self._intake.clock() - self._asked >= SILENCE
        self._intake.came(self, max(0, size - promised))

    def handled(self) -> None:
        """Records that the message was carried out, or that none came: it needs no room now."""
        self._intake.came(self, 0)
