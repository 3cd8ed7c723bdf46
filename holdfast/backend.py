"""Whether a backend answers: notices when it is lost, and when it is back.

    answers ──3 calls in a row, over 5 s, without an answer──▶ lost ──an answer──▶ answers

A refusal is an answer too: a backend that throttles or denies requests is up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast import deadlines
from holdfast.errors import HoldfastError, PermissionDenied, ResourceExhausted, Unavailable
from holdfast.request_counts import Outcome, RequestCounts

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
    """What is known of one backend. Safe for many threads.

    Attributes:
        name: for people.
        request_counts: counts the requests to it.
    """

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
        self.request_counts = RequestCounts()
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

    def asked(self, patience: float, operation: str) -> BackendCall:
        """Surrounds one call: Unavailable means no answer, any other outcome is an answer.

        Args:
            patience: seconds that an answer may take. If a call has an earlier deadline, its
                failure says nothing about the backend.
            operation: what is asked, by the word that metrics use.
        """
        return BackendCall(self, self._clock, patience, operation)

    def refused(self) -> None:
        """Notes a call that wasn't even tried, because the backend is lost."""
        with self._lock:
            self._calls += 1

    def _change(self, *, up: bool) -> Change:
        return Change(self.name, up, self.silence, self._calls)


class BackendCall:
    """One call: `with` surrounds it. See `Backend.asked`."""

    __slots__ = ("_backend", "_began", "_clock", "_left", "_operation", "_patience")

    def __init__(
        self, backend: Backend, clock: Callable[[], float], patience: float, operation: str
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._patience = patience
        self._operation = operation
        self._began = 0.0
        self._left: float | None = None

    def __enter__(self) -> None:
        self._began, self._left = self._clock(), deadlines.left()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seconds = self._clock() - self._began
        self._backend.request_counts.ended(self._operation, _outcome(error), seconds)
        if isinstance(error, Unavailable):
            if self._left is None or self._left >= self._patience:
                self._backend.unanswered(self._began)
        elif error is None or isinstance(error, HoldfastError):
            self._backend.answered()


def _outcome(error: BaseException | None) -> Outcome:
    match error:
        case None:
            return Outcome.OK
        case Unavailable():
            return Outcome.UNANSWERED
        case PermissionDenied():
            return Outcome.DENIED
        case ResourceExhausted():
            return Outcome.FULL
        case Exception():
            return Outcome.FAILED
        case _:
            return Outcome.ABANDONED
