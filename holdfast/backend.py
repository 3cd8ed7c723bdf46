"""Whether a backend answers: notices when it is lost, and when it is back.

    answers ──3 calls in a row, over 5 s, without an answer──▶ lost ──an answer──▶ answers

A refusal is an answer too: a backend that throttles or denies requests is up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from holdfast import deadlines
from holdfast.errors import HoldfastError, Unavailable

IN_A_ROW: Final = 3
"""Unanswered calls, with no answered one in between, after which a backend may be lost."""
SILENT: Final = 5.0
"""Seconds that must have passed since the first of them began: a quick restart is no loss."""


@dataclass(frozen=True, slots=True)
class Change:
    """A backend was lost, or is back.

    Attributes:
        name: of the backend.
        up: whether it answers now.
        seconds: for how long it didn't answer.
        calls: how many calls had no answer meanwhile.
    """

    name: str
    up: bool
    seconds: float
    calls: int


class Backend:
    """What is known of one backend. Safe for many threads."""

    def __init__(
        self, name: str, clock: Callable[[], float], tell: Callable[[Change], None]
    ) -> None:
        """Begins with a backend that is assumed to answer.

        Args:
            name: for people.
            clock: in s, never set back.
            tell: called with each change, in the thread that notices it.
        """
        self.name = name
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._silent_since: float | None = None
        self._calls = 0
        self._lost = False

    @property
    def up(self) -> bool:
        """Whether it answers, as far as is known."""
        return not self._lost

    @property
    def silence(self) -> float:
        """Seconds since the first unanswered call began; 0 if the last call was answered."""
        since = self._silent_since
        return 0.0 if since is None else self._clock() - since

    def answered(self) -> None:
        """Notes that a call was answered, whatever the answer."""
        if self._silent_since is None:
            return  # the usual case; a call that fails concurrently is counted the next time
        with self._lock:
            back = self._change(up=True) if self._lost else None
            self._silent_since, self._calls, self._lost = None, 0, False
        if back:
            self._tell(back)

    def unanswered(self, began: float) -> None:
        """Notes that a call which began at `began` got no answer."""
        with self._lock:
            if self._silent_since is None:
                self._silent_since = began
            self._calls += 1
            lost = (
                not self._lost
                and self._calls >= IN_A_ROW
                and self._clock() - self._silent_since >= SILENT
            )
            self._lost |= lost
            change = self._change(up=False) if lost else None
        if change:
            self._tell(change)

    @contextmanager
    def asked(self, patience: float) -> Iterator[None]:
        """Surrounds one call: Unavailable means no answer, any other outcome is an answer.

        Args:
            patience: seconds that an answer may take. If a call has an earlier deadline, its
                failure says nothing.
        """
        began, left = self._clock(), deadlines.left()
        try:
            yield
        except Unavailable:
            if left is None or left >= patience:
                self.unanswered(began)
            raise
        except HoldfastError:
            self.answered()
            raise
        self.answered()

    def refused(self) -> None:
        """Notes a call that wasn't even tried, because the backend is lost."""
        with self._lock:
            self._calls += 1

    def _change(self, *, up: bool) -> Change:
        return Change(self.name, up, self.silence, self._calls)
