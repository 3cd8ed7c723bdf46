"""While a store is known not to answer, no request waits for it.

closed ──lost──▶ open: requests fail at once ──every 2 s──▶ one of them is let through
▲                                                             │
└──────────────────────── it is answered ─────────────────────┘
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from botocore.exceptions import BotoCoreError, ConnectTimeoutError, ReadTimeoutError

from holdfast import deadlines
from holdfast.backend import Backend
from holdfast.deadlines import Deadline

RETRIED: Final = 2.0
"""Seconds from one trial request to the next."""
LATE: Final = 0.6
"""Share of a deadline's time; when less is left, an attempt may use all of it."""
STALLED: Final = 30.0
"""Seconds after which a trial request is given up if its outcome wasn't reported."""

EARNEST: Final = 0.9
"""Seconds that a request must have waited before its timeout counts against the store."""
TIMEOUTS: Final = (ReadTimeoutError, ConnectTimeoutError)
SOONEST: Final = 0.05
"""Seconds that an attempt has at least, once it has begun."""


class NotSent(BotoCoreError):  # noqa: N818 -- reads as the fact it is
    """A request that wasn't sent: its deadline has passed, or the store doesn't answer."""

    fmt = "{reason}"


class Circuit:
    """What a request must pass before it is sent. Safe for many threads."""

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        unheard: Callable[[], None] = lambda: None,
    ) -> None:
        """Begins closed.

        Args:
            backend: what is known of the store.
            clock: in s, never set back.
            unheard: called for each request whose answer didn't arrive, although it was waited
                for long enough.
        """
        self._backend = backend
        self._clock = clock
        self._unheard = unheard
        self._lock = threading.Lock()
        self._next = 0.0
        self._trying: float | None = None

    def enter(self) -> float:
        """Lets a request through; returns when it began, for `failed`.

        Raises:
            NotSent: its deadline has passed, or the store is lost and no trial is due.
        """
        now, deadline = self._clock(), deadlines.current()
        if deadline is not None and deadline.left <= 0:
            raise NotSent(reason=f"S3 hasn't answered {spent()}")
        if self._backend.up:
            return now
        with self._lock:
            stalled = self._trying is not None and now - self._trying >= STALLED
            if now >= self._next and (self._trying is None or stalled):
                self._trying = now
                return now
            again = max(self._next - now, 0.0)
        self._backend.refused()
        raise NotSent(
            reason=f"S3 hasn't answered for {self._backend.silence:.0f} s; it is tried again in "
            f"{again:.1f} s"
        )

    def answered(self) -> None:
        """Notes that a request was answered, whatever the answer."""
        self._trying = None
        self._backend.answered()

    def failed(self, began: float, error: Exception | None) -> None:
        """Notes that a request which began at `began` got no answer, and why.

        If it was given up very early, because its client is impatient, that says nothing about
        the store, or about the connection.
        """
        up = self._backend.up
        impatient = isinstance(error, TIMEOUTS) and self._clock() - began < EARNEST
        if not impatient:
            if isinstance(error, ReadTimeoutError):
                self._unheard()
            self._backend.unanswered(began)
        with self._lock:
            if began == self._trying or (up and not self._backend.up):
                self._trying, self._next = None, self._clock() + RETRIED


def attempt() -> Deadline | None:
    """By when an attempt that begins now must have ended; None: it may last as long as bytes move.

    Long before a deadline, it has half of the time left, so that there is time for another attempt
    on another connection, or for finding out what became of this one. Close to it, it has all.
    """
    deadline = deadlines.current()
    if deadline is None:
        return None
    left = deadline.left
    seconds = max(left / 2 if left > LATE * deadline.seconds else left, SOONEST)
    return Deadline(deadline.clock() + seconds, seconds, deadline.clock)


def patience(most: float) -> float:
    """Seconds that an attempt which begins now may wait for a byte: at most `most`."""
    end = attempt()
    return most if end is None else min(most, end.seconds)


def spent() -> str:
    """How long the request waited for an answer, for an error's text."""
    deadline = deadlines.current()
    return "in time" if deadline is None else f"within {deadline.seconds:.3g} s"
