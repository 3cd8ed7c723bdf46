"""The server's clock, as its replies report it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final

from holdfast.clocks import uptime
from holdfast.errors import Unavailable

AGREE: Final = 600.0
"""Seconds by which clocks may differ and still agree. A larger difference is refused at start, and
from 900 on S3 refuses signatures; the collector's and the ingests' ages allow for as much."""


class ServerClock:
    """The date of the last reply plus the time since. Safe for many threads.

    A date counts whole seconds and was written before it was read, so this clock is up to a second
    and a round trip behind the server's.

    No single clock is trusted. The date of a reply counts if it agrees with the time expected from
    the replies before it, or with this machine's own clock: after a virtual machine was paused,
    server and machine agree again. If a date is ahead of both, and those two agree, it comes from a
    server whose clock is wrong and is ignored: what that server writes looks too young to
    collectors, which is safe. If it is behind both, or all three differ, the time is in doubt until
    a reply agrees again: until then, the age of everything is unknown.
    """

    def __init__(
        self,
        elapsed: Callable[[], float] = uptime,
        wall: Callable[[], float] = time.time,
        skewed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Knows no time yet: the first date counts, and the process that starts compares it.

        Args:
            elapsed: counts seconds, also while the machine is suspended.
            wall: this machine's clock, in s since 1970.
            skewed: called once when this machine's clock is too far from the store's, with the
                seconds by which it is ahead, and with 0 once they agree again.
        """
        self._elapsed = elapsed
        self._wall = wall
        self._skewed = skewed
        self._off = False
        self._lock = threading.Lock()
        self._date: float | None = None
        self._at = 0.0
        self._doubted: float | None = None

    @property
    def known(self) -> bool:
        """Whether there was a reply with a date."""
        return self._date is not None

    def note(self, http_response: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        """Reads the date of a reply; botocore calls it after every call."""
        date = self.parse(http_response.headers.get("date"))
        if date is None:
            return
        with self._lock:
            at, wall = self._elapsed(), self._wall()
            expected = date if self._date is None else self._date + at - self._at
            if agree(date, expected) or agree(date, wall):
                self._date, self._at, self._doubted = date, at, None
            elif date < expected or not agree(expected, wall):
                self._doubted = date - expected

    def now(self) -> float:
        """Seconds since 1970; 0 before the first reply.

        Raises:
            Unavailable: replies disagree, and it is unknown which of them is right.
        """
        with self._lock:
            if self._doubted is not None:
                raise Unavailable(
                    f"the store's clock is in doubt: a reply was dated {abs(self._doubted):.0f} s "
                    f"{'after' if self._doubted > 0 else 'before'} what the ones before it led to "
                    "expect; look at the clocks of the store's servers, and of this machine"
                )
            return self._reckoned()

    def for_signing(self) -> float:
        """The time at which a request is signed, in s since 1970.

        It is this machine's, unless the store's is known to be another.
        """
        with self._lock:
            wall, reckoned = self._wall(), self._reckoned()
            unknown = self._date is None or self._doubted is not None
            off = not unknown and not agree(wall, reckoned)
            changed, self._off = off != self._off, off
        if changed:
            self._skewed(wall - reckoned if off else 0.0)
        return reckoned if off else wall

    def believed(self, header: str | None) -> float:
        """When a reply was written: its Date header, or the expected time if the header is no good.

        An expected time is at worst early. A date that is ahead would make an ingest seem younger
        than it is.
        """
        date = self.parse(header)
        with self._lock:
            reckoned = self._reckoned()
        return date if date is not None and agree(date, reckoned) else reckoned

    def _reckoned(self) -> float:
        return 0.0 if self._date is None else self._date + self._elapsed() - self._at

    @staticmethod
    def parse(header: str | None) -> float | None:
        """Reads a Date header; None if it isn't one."""
        try:
            return parsedate_to_datetime(header).timestamp() if header else None
        except (ValueError, OverflowError):
            return None


def agree(one: float, other: float) -> bool:
    """Whether two clocks, in s, are close enough to count as the same."""
    return abs(one - other) <= AGREE
