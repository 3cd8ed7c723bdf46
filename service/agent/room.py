"""The bytes that all write streams of an agent may keep in order to send them again.

    a message is announced       → its bytes get their room, or its client waits: flow control
    a frontend has kept bytes    → their room is free again
    a stream waits for room      → each stream that keeps bytes looks what is kept meanwhile; one
                                   whose client is silent, or waits too, has its bytes made durable

A frontend stores whole parts, so many streams may each keep a piece of a part that can't become
durable by itself. If they all wait, the last rule ends that: no stream waits for another one's
client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from holdfast.errors import ResourceExhausted

LOOK: Final = 0.25
"""Seconds between two looks at what is kept, while a stream waits."""
FEW: Final = 4096
"""Bytes of a message that never waits: a STAT, or a COMMIT without data, which a node's database
waits for."""
EXCESS: Final = 4
"""Messages of a few bytes may exceed the room by one part in this many of it."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Keeper(Protocol):
    """A stream that keeps bytes."""

    async def relieve(self) -> None:
        """Releases the room of bytes that are durable; makes them so if its client is silent."""
        ...


class RoomShare:
    """The bytes that one stream keeps.

    Attributes:
        kept: how many.
    """

    __slots__ = ("_room", "closed", "keeper", "kept", "relief")

    def __init__(self, room: ReplayRoom, keeper: Keeper) -> None:
        self._room = room
        self.keeper = keeper
        self.kept = 0
        self.closed = False
        self.relief: asyncio.Task[None] | None = None

    async def take(self, amount: int) -> None:
        """Waits for room for so many bytes.

        Raises:
            ResourceExhausted: that is more than all streams together may keep.
            Exception: what `refuse` was given meanwhile.
        """
        await self._room.take(amount, self)
        if self.closed:
            self._room.release(amount)
        else:
            self.kept += amount

    def give_back(self, amount: int) -> None:
        """Releases the room of so many bytes."""
        if amount and not self.closed:
            self.kept -= amount
            self._room.release(amount)

    def refuse(self, error: Exception) -> None:
        """Has `take` raise an error, if it waits."""
        self._room.refuse(self, error)

    def close(self) -> None:
        """Releases all of it."""
        self.give_back(self.kept)
        self.closed = True
        self._room.leave(self)


@dataclass(slots=True, eq=False)
class _Turn:
    share: RoomShare
    amount: int
    granted: asyncio.Future[None]
    taken: bool = False


class ReplayRoom:
    """A number of bytes that streams share. Who asks first gets them first.

    Attributes:
        size: bytes in all.
        free: bytes that nobody keeps; below 0 if messages of a few bytes exceed the room.
        reliefs: how often a stream was asked to release bytes.
    """

    def __init__(self, size: int, spawn: Spawn) -> None:
        """Begins with all bytes free.

        Args:
            size: bytes in all; at least as many as the largest message has.
            spawn: runs a stream's relief in the background.
        """
        self.size = size
        self.free = size
        self.reliefs = 0
        self._spawn = spawn
        self._waiting: deque[_Turn] = deque()
        self._shares: dict[RoomShare, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many streams wait."""
        return len(self._waiting)

    def join(self, keeper: Keeper) -> RoomShare:
        """Makes a share for a stream."""
        share = RoomShare(self, keeper)
        self._shares[share] = None
        return share

    def leave(self, share: RoomShare) -> None:
        """Forgets a share that has no bytes any more."""
        self._shares.pop(share, None)

    async def take(self, amount: int, share: RoomShare) -> None:
        """Waits until so many bytes are free, and takes them.

        Raises:
            ResourceExhausted: there are never so many.
            Exception: what `refuse` was given for this share meanwhile.
        """
        if amount > self.size:
            raise ResourceExhausted(
                f"a message of {amount} bytes doesn't fit into HOLDFAST_AGENT_REPLAY_BUDGET, "
                f"{self.size} bytes; raise it"
            )
        if self._fits(amount):
            self.free -= amount
            return
        turn = _Turn(share, amount, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._press()
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._hand_out()
            elif turn.taken:  # not if it was refused just now
                self.release(amount)
            raise

    def refuse(self, share: RoomShare, error: Exception) -> None:
        """Has those who wait for a share's room get an error instead."""
        for turn in [one for one in self._waiting if one.share is share]:
            self._waiting.remove(turn)
            if not turn.granted.done():
                turn.granted.set_exception(error)
        self._hand_out()

    def _fits(self, amount: int) -> bool:
        if amount <= FEW:
            return self.free > -self.size // EXCESS
        return not self._waiting and amount <= self.free

    def release(self, amount: int) -> None:
        """Makes bytes free again."""
        self.free += amount
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._waiting[0].amount <= self.free:
            turn = self._waiting.popleft()
            self.free -= turn.amount
            turn.taken = True
            if not turn.granted.done():  # whoever leaves just now gives it back
                turn.granted.set_result(None)

    def _press(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self._relieve)

    def _relieve(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        for share in self._shares:
            if share.kept and (share.relief is None or share.relief.done()):
                self.reliefs += 1
                share.relief = self._spawn(share.keeper.relieve())
        self._press()
