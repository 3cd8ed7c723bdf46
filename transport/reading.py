"""Turns of connections that have sent more frames than they may have read at once.

Frames are small: a connection's buffer holds a thousand calls, and a client may have as many
connections as it likes. If each of them was read for as long as it liked, one iteration of the loop
would take as long as all of them together, and a call of anybody else takes some iterations. So a
connection reads a few frames when they arrive. Where there are more it waits in one queue with all
others, of which each iteration of the loop reads one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

AT_ONCE: Final = 128
"""Frames that a connection reads when they arrive; fewer cost honest clients with many calls."""
TURN: Final = 64
"""Frames that it reads when it is its turn: some 2 ms."""


class Waiting(Protocol):
    """A connection with frames that are received and not yet read."""

    def read_on(self, most: int) -> None:
        """Reads so many frames at most. It waits again if there are more."""


class Turns:
    """The connections of one server that wait for their turn."""

    __slots__ = ("_loop", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins with none."""
        self._loop = loop
        self._waiting: deque[Waiting] = deque()
        self._scheduled = False

    def wait(self, connection: Waiting) -> None:
        """Lets a connection read on in a later iteration, after all that wait already."""
        self._waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        self._waiting.popleft().read_on(TURN)
        if self._waiting:
            self._schedule()
