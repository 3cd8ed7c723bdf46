"""The server's clock, as its replies tell it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any


class ServerClock:
    """The date of the last reply plus the monotonic time since. Safe for many threads.

    A date counts whole seconds and was written before it was read, so this clock is
    up to a second and a round trip behind the server's.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._date: float | None = None
        self._at = 0.0

    @property
    def known(self) -> bool:
        """Whether there was a reply with a date."""
        return self._date is not None

    def note(self, http_response: Any, **_: Any) -> None:  # noqa: ANN401 -- botocore's event
        """Takes the date from a reply; botocore calls it after every call."""
        date = self.parse(http_response.headers.get("date"))
        if date is not None:
            with self._lock:
                self._date, self._at = date, self._monotonic()

    def now(self) -> float:
        """Seconds since 1970; 0 before the first reply."""
        with self._lock:
            if self._date is None:
                return 0.0
            return self._date + self._monotonic() - self._at

    @staticmethod
    def parse(header: str | None) -> float | None:
        """Reads a Date header; None if it isn't one."""
        try:
            return parsedate_to_datetime(header).timestamp() if header else None
        except ValueError:
            return None
