"""How long a connection may last: half-open ones, slow ones, idle ones and old ones end.

made → preface and SETTINGS within `handshake`, else closed
     → a frame that has begun is complete within `header_block`, else closed
     → nothing heard for `keepalive`: PING; nothing for `keepalive_timeout` more: closed
     → a message that waits for the client doesn't move for `stalled`: its call ends
     → no stream for `idle`, older than `age`, or its client's certificate has expired: drained
     → drained: GOAWAY, a PING, its answer (or `round_trip`), GOAWAY, the streams end, closed
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from holdfast.transport.connection import Connection
from holdfast.transport.counts import Refusal
from holdfast.transport.errors import ConnectionFailedError, ErrorCode
from holdfast.transport.limits import Limits

LONGEST: Final = 5.0
"""Seconds between two looks at a connection at most; a bound is noticed as much later at most."""
PER_BOUND: Final = 4
"""Looks within the shortest bound."""


class Watched(Protocol):
    """The connection whose time runs."""

    connection: Connection
    heard: float
    since: float

    @property
    def within_since(self) -> float | None:
        """Since when a frame or a header block is incomplete, in s; None if none is."""

    @property
    def greeted(self) -> bool:
        """Whether the client has sent its preface and its SETTINGS."""

    def fail(self, error: ConnectionFailedError) -> None:
        """Ends the connection; GOAWAY says why."""

    def give_up(self, refusal: Refusal) -> None:
        """Closes the connection without a word to a client that wouldn't read it."""


class Lifetime:
    """The bounds of one connection's time."""

    __slots__ = (
        "_age",
        "_asked",
        "_clock",
        "_drained",
        "_haste",
        "_idle",
        "_limits",
        "_loop",
        "_period",
        "_timer",
        "_watched",
    )

    def __init__(
        self,
        watched: Watched,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        spread: Callable[[float, float], float],
        *,
        valid: float = float("inf"),
    ) -> None:
        """Begins to watch.

        Args:
            watched: the connection.
            limits: the bounds.
            loop: the loop of all calls.
            clock: monotonic, in s.
            spread: returns a random number between two.
            valid: seconds until the client's certificate expires.
        """
        self._watched = watched
        self._limits = limits
        self._loop = loop
        self._clock = clock
        vary = spread(1 - limits.jitter, 1 + limits.jitter)
        self._age = min(limits.age * vary, valid)
        self._idle = limits.idle * vary
        bounds = (
            limits.handshake,
            limits.header_block,
            limits.keepalive,
            limits.keepalive_timeout,
            limits.stalled,
            limits.idle,
            limits.age,
        )
        self._period = min(LONGEST, min(bounds) / PER_BOUND)
        # Only drains are in such a haste: at this pace thousands of idle connections would keep
        # the loop busy.
        self._haste = min(self._period, limits.round_trip / PER_BOUND)
        self._asked: float | None = None
        self._drained: float | None = None
        self._timer = loop.call_later(self._period, self._look)

    def end(self) -> None:
        """Stops watching."""
        self._timer.cancel()

    def drain(self) -> None:
        """Tells the client to open no more streams, and watches that this comes to an end."""
        self._watched.connection.drain()
        self._timer.cancel()
        self._look()

    def _look(self) -> None:
        period = self._haste if self._watched.connection.draining else self._period
        self._timer = self._loop.call_later(period, self._look)
        now = self._clock()
        reason = self._too_late(now)
        if reason is not None:
            self._watched.fail(ConnectionFailedError(ErrorCode.NO_ERROR, reason, Refusal.LATE))
            return
        self._keep_alive(now)
        self._watched.connection.end_stalled(now)
        self._drain(now)

    def _too_late(self, now: float) -> str | None:
        watched, limits = self._watched, self._limits
        if not watched.greeted and now > watched.since + limits.handshake:
            return "no preface"
        if watched.within_since is not None and now > watched.within_since + limits.header_block:
            return "a frame has begun and isn't complete"
        if not watched.connection.acknowledged and now > watched.since + limits.settings_timeout:
            return "no acknowledgement of SETTINGS"
        return None

    def _keep_alive(self, now: float) -> None:
        watched, limits = self._watched, self._limits
        if self._asked is not None and watched.heard >= self._asked:
            self._asked = None
        if self._asked is not None:
            if now > self._asked + limits.keepalive_timeout:
                watched.give_up(Refusal.SILENT)
        elif now > watched.heard + limits.keepalive:
            self._asked = now
            watched.connection.ask()

    def _drain(self, now: float) -> None:
        watched, limits = self._watched, self._limits
        connection = watched.connection
        if not connection.draining:
            idle = connection.idle and now > connection.idle_since + self._idle
            if idle or now > watched.since + self._age:
                self.drain()
                return
        if connection.draining:
            if self._drained is None:
                self._drained = now
            if now >= self._drained + limits.round_trip:
                connection.stop_accepting()
            if now > self._drained + limits.age_grace:
                watched.give_up(Refusal.LATE)
