"""Until when something is wanted: carried from a call to every request that is made for it.

    with within(10.0):          the tasks that are begun inside inherit it, threads get it from
        …                       the workers that run them, and each request asks what is `left()`

Inside one another the earliest counts. What is done for others too, or for nobody in
particular, is `unbounded()`: one caller's impatience must not end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from holdfast.clocks import uptime


@dataclass(frozen=True, slots=True)
class Deadline:
    """When something must have ended.

    Attributes:
        at: by `clock`, in s.
        seconds: how long that was from its beginning.
        clock: of all deadlines of one process, in s.
    """

    at: float
    seconds: float
    clock: Callable[[], float]

    @property
    def left(self) -> float:
        """Seconds until then, less than 0 once it is over."""
        return self.at - self.clock()


_DEADLINE: Final[ContextVar[Deadline | None]] = ContextVar("deadline", default=None)
"""Of what is being done; a context variable, because it has to pass through every layer."""


def current() -> Deadline | None:
    """The deadline of what is being done, if it has one."""
    return _DEADLINE.get()


def left() -> float | None:
    """Seconds that are left for what is being done; None: it may take as long as it takes."""
    deadline = _DEADLINE.get()
    return None if deadline is None else deadline.left


@contextmanager
def within(seconds: float | None, clock: Callable[[], float] = uptime) -> Iterator[Deadline | None]:
    """Bounds what is done inside; None leaves it as bounded as it was.

    Args:
        seconds: from now on.
        clock: in s, those of a suspended machine included.
    """
    outer = _DEADLINE.get()
    inner = outer if seconds is None else Deadline(clock() + seconds, seconds, clock)
    if outer is not None and inner is not None and outer.at < inner.at:
        inner = outer
    token = _DEADLINE.set(inner)
    try:
        yield inner
    finally:
        _DEADLINE.reset(token)


def begin(seconds: float | None) -> None:
    """Bounds all that this task does from now on; None: not at all.

    For generators, which may be ended by another task than the one that began them.
    """
    _DEADLINE.set(None if seconds is None else Deadline(uptime() + seconds, seconds, uptime))


@contextmanager
def unbounded() -> Iterator[None]:
    """Lets what is begun inside take as long as it takes, whoever began it."""
    token = _DEADLINE.set(None)
    try:
        yield
    finally:
        _DEADLINE.reset(token)
