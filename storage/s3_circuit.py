"""While a store is known not to answer, nobody waits for it.

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

RETRIED: Final = 2.0
"""Seconds from one request that was let through to the next."""
LATE: Final = 0.6
"""How much of a deadline's time is left when the first try of it is over."""
STALLED: Final = 30.0
"""Seconds after which one that was let through is given up, if nobody says how it ended."""

EARNEST: Final = 0.9
"""Seconds that an answer must have been waited for to be missed."""
TIMEOUTS: Final = (ReadTimeoutError, ConnectTimeoutError)
SOONEST: Final = 0.05
"""Seconds that a try has at least, once it is begun."""


class NotSent(BotoCoreError):  # noqa: N818 -- reads as the fact it is
    """A request that wasn't sent: it is too late for it, or the store doesn't answer."""

    fmt = "{reason}"


class Circuit:
    """What a request passes before it is sent. Safe for many threads."""

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        """Closed.

        Args:
            backend: what is known of the store.
            clock: in s, never set back.
        """
        self._backend = backend
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0
        self._trying: float | None = None

    def enter(self) -> float:
        """Lets a request through; returns when it began, for `failed`.

        Raises:
            NotSent: its deadline is over, or the store is lost and isn't tried just now.
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
        """A request was answered, whatever the answer."""
        self._trying = None
        self._backend.answered()

    def failed(self, began: float, error: Exception | None) -> None:
        """A request that began then had no answer, and why.

        One that was given up at once, because its client is impatient, says nothing of the store.
        """
        up = self._backend.up
        impatient = isinstance(error, TIMEOUTS) and self._clock() - began < EARNEST
        if not impatient:
            self._backend.unanswered(began)
        with self._lock:
            if began == self._trying or (up and not self._backend.up):
                self._trying, self._next = None, self._clock() + RETRIED


def patience(most: float) -> float:
    """Seconds without a byte after which a try is given up.

    Early before a deadline that is half of what is left: there must be time for another try, on
    another connection, or for a look at what became of this one. Late it is all.
    """
    deadline = deadlines.current()
    if deadline is None:
        return most
    early = deadline.left > LATE * deadline.seconds
    return min(most, max(deadline.left / (2 if early else 1), SOONEST))


def spent() -> str:
    """How long was waited for an answer, for an error."""
    deadline = deadlines.current()
    return "in time" if deadline is None else f"within {deadline.seconds:.3g} s"
