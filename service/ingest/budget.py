"""The bytes that all streams of a process may buffer together.

    a part's bytes come      → each piece gets its room, while half of the budget stays free
    less than that is free   → the stream waits until the rest of its part is promised, too
    the part is full         → the part keeps its room until it is stored
    the stream's client rests while others wait → the part is spilled into a tail object

A stream that has the promise of a whole part finishes it without waiting for others, and a
part is at most half of the budget. So streams with unfinished parts never wait for each
other in a circle, and only those whose clients are silent have to spill. Streams in the
middle of a part are served before those that begin one, because they will release more than
they still need; apart from that, the first to ask is served first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from holdfast.errors import ResourceExhausted
from holdfast.service.process.permits import Permit

SILENCE: Final = 1.0
"""Seconds without a message after which a stream spills its part, if others wait: longer than
the time between two messages of a client that is sending."""
LONGEST_SILENCE: Final = 64.0
"""The most that `SILENCE` grows to, in s: each spill of a part doubles it for that part, so that
a slow client's part isn't written and read back with each of its messages."""
PATIENCE: Final = 10.0
"""Seconds that a client may rest during one part in all, if others wait …"""
SLOWEST: Final = 2**20
"""… and one second more for each `SLOWEST` bytes that it has sent: a client that sends a few bytes
now and then must not keep others waiting for ever."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Holder(Protocol):
    """A stream that buffers bytes."""

    async def spill(self) -> None:
        """Makes the buffered bytes durable elsewhere and releases their room."""
        ...


@dataclass(slots=True, eq=False)
class _Ask:
    """A request of a share: `amount` bytes now, and the promise of `rest` bytes of its part."""

    share: Share
    amount: int
    rest: int
    since: float
    turn: asyncio.Future[None]

    @property
    def claim(self) -> int:
        """Bytes that it needs, those that were promised to the share before included."""
        return self.amount + self.rest


class Share:
    """One stream's share of the budget: the bytes that its unfinished part has and is promised.

    Its calls to `take` come one at a time. Once closed, it has no bytes and gets none.

    Attributes:
        buffered: bytes that it has.
        promised: further bytes that it may take without waiting.
        resting_since: when its client's turn began, in s; None while it is the frontend's turn.
        rested: seconds of its client's earlier turns since the part began.
        silence: seconds of its client's silence after which it spills, if others wait.
    """

    __slots__ = (
        *("_budget", "closed", "buffered", "holder", "promised"),
        *("rested", "resting_since", "silence"),
    )

    def __init__(self, budget: BufferBudget, holder: Holder, now: float) -> None:
        self._budget = budget
        self.holder = holder
        self.buffered = self.promised = 0
        self.closed = False
        self.resting_since: float | None = now
        self.rested = 0.0
        self.silence = SILENCE

    @property
    def spillable(self) -> int:
        """Bytes that a spill would release now."""
        return self.buffered + self.promised

    async def take(self, amount: int, rest: int = 0) -> None:
        """Waits for `amount` bytes.

        Args:
            amount: bytes that come now.
            rest: bytes that its part may still need after them. If the budget is scarce, it
                waits for these, too, and they are promised.

        Raises:
            ResourceExhausted: `amount` is more than the whole budget.
        """
        if not self.take_at_once(amount):
            await self._budget.wait(self, amount, rest)

    def take_at_once(self, amount: int) -> bool:
        """Takes bytes if they were promised, or are plentiful; returns whether it did."""
        return self.closed or self._budget.give(self, amount)

    def give_back(self, amount: int) -> None:
        """Releases bytes."""
        if amount and not self.closed:
            self.buffered -= amount
            self._budget.release(amount)

    def renounce(self) -> None:
        """Releases what it was promised, because its part won't be finished soon."""
        unused, self.promised = self.promised, 0
        if unused:
            self._budget.release(unused)

    def cut(self) -> Permit:
        """Moves its bytes to a permit, which releases them later: its part is full."""
        cut, self.buffered = self.buffered, 0
        self.rested, self.silence = 0.0, SILENCE
        self.renounce()
        return Permit(lambda: self._budget.release(cut))

    def work(self) -> None:
        """Begins the frontend's turn, during which the stream isn't made to spill."""
        if self.resting_since is not None:
            self.rested += self._budget.clock() - self.resting_since
            self.resting_since = None

    def due(self, since: float) -> float:
        """When it has to spill, in s, if its client has been resting since `since`."""
        slow = PATIENCE + self.buffered / SLOWEST - self.rested
        return since + max(0.0, min(self.silence, slow))

    def rest(self) -> None:
        """Begins the client's turn."""
        if not self.closed:
            self._budget.rests(self)

    def close(self) -> None:
        """Closes it: all its bytes are released, and a waiting `take` returns without bytes."""
        buffered, self.closed = self.buffered, True
        self.buffered = 0
        self._budget.leave(self)
        self._budget.release(buffered)
        self.renounce()


class BufferBudget:
    """A number of bytes that streams share, and the queue of those that wait for some."""

    def __init__(self, size: int, spawn: Spawn, clock: Callable[[], float]) -> None:
        """Begins with all bytes free.

        Args:
            size: bytes in all; a part may have half of them.
            spawn: runs a spill in the background.
            clock: in s; it is never set back, and also runs while the machine is suspended.
        """
        self.size = size
        self.free = size
        self._spawn = spawn
        self.clock = clock
        self._waiting: list[_Ask] = []
        # In the order in which they joined: of streams that rest equally long, the oldest spills.
        self._shares: dict[Share, None] = {}
        self._spilling: set[Share] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.spills = 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @property
    def shares(self) -> int:
        """How many streams have a share."""
        return len(self._shares)

    def join(self, holder: Holder) -> Share:
        """Makes a share for a stream."""
        share = Share(self, holder, self.clock())
        self._shares[share] = None
        return share

    def leave(self, share: Share) -> None:
        """Forgets a share; a request of it that waits ends without bytes."""
        self._shares.pop(share, None)
        self._spilling.discard(share)
        for ask in [ask for ask in self._waiting if ask.share is share]:
            self._waiting.remove(ask)
            if not ask.turn.done():
                ask.turn.set_result(None)
        self._hand_out()

    def give(self, share: Share, amount: int) -> bool:
        """Gives bytes that were promised, or without which half of the budget stays free.

        Returns whether it did; if not, nothing has changed.
        """
        more = amount - share.promised
        if more > 0 and (self._waiting or self.free - more < self.size // 2):
            return False
        self.free -= max(more, 0)
        share.promised -= min(amount, share.promised)
        share.buffered += amount
        return True

    async def wait(self, share: Share, amount: int, rest: int) -> None:
        """Waits until a share has `amount` bytes and the promise of `rest` bytes.

        Raises:
            ResourceExhausted: `amount` is more than the whole budget.
        """
        rest = min(rest, self.size // 2 - amount) if rest else 0
        if amount > self.size:
            raise ResourceExhausted(
                f"{amount} bytes must be buffered at once, and HOLDFAST_BUFFER_BUDGET is "
                f"{self.size}; raise it"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ask = _Ask(share, amount, max(rest, 0), self.clock(), turn)
        self._waiting.append(ask)
        self._hand_out()
        try:
            await turn
        except asyncio.CancelledError:
            if ask in self._waiting:
                self._waiting.remove(ask)
                self._hand_out()
            else:
                share.give_back(amount)
            raise

    def release(self, amount: int) -> None:
        """Makes bytes free again."""
        self.free += amount
        self._hand_out()

    def rests(self, share: Share) -> None:
        """Records that it is a stream's client's turn."""
        share.resting_since = self.clock()
        if self._waiting and self._timer is None:
            self.relieve()

    # -- who is next

    def _hand_out(self) -> None:
        if not self._waiting and self._timer is None:
            return  # the usual case
        while (ask := next(self._servable(), None)) is not None:
            self._waiting.remove(ask)
            share = ask.share
            # The claim includes the bytes that were promised before, which aren't free any more.
            self.free -= ask.claim - share.promised
            share.buffered += ask.amount
            share.promised = ask.rest
            if not ask.turn.done():
                ask.turn.set_result(None)
        self.relieve()

    def _servable(self) -> Iterator[_Ask]:
        """The requests that can be served, the next one first."""
        begun = [ask for ask in self._waiting if ask.share.buffered]
        yield from (ask for ask in begun if self._lacks(ask) <= 0)
        if not begun and self._waiting and self._lacks(self._waiting[0]) <= 0:
            yield self._waiting[0]

    def _lacks(self, ask: _Ask) -> int:
        return ask.claim - ask.share.promised - self.free

    # -- spills

    def relieve(self) -> None:
        """Makes silent streams spill as much as the next request lacks; checks again when due."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        now = self.clock()
        head = next((ask for ask in self._waiting if ask.share.buffered), self._waiting[0])
        lacking = self._lacks(head) - sum(share.spillable for share in self._spilling)
        due = []
        for since, share in self._resting():
            if lacking <= 0:
                return
            if share.due(since) <= now:
                lacking -= share.spillable
                self._spill(share)
            else:
                due.append(share.due(since))
        if lacking > 0 and due:
            pause = max(0.0, min(due) - now)
            self._timer = asyncio.get_running_loop().call_later(pause, self.relieve)

    def _resting(self) -> list[tuple[float, Share]]:
        """The shares that could spill, those whose clients have been silent for longest first."""
        resting = [
            (share.resting_since, share)
            for share in self._shares
            if share.resting_since is not None and share.spillable and share not in self._spilling
        ]
        return sorted(resting, key=lambda one: one[0])

    def _spill(self, share: Share) -> None:
        self.spills += 1
        share.rested, share.silence = 0.0, min(2 * share.silence, LONGEST_SILENCE)
        self._spilling.add(share)
        self._spawn(share.holder.spill()).add_done_callback(lambda _: self._spilled(share))

    def _spilled(self, share: Share) -> None:
        self._spilling.discard(share)
        self.relieve()
