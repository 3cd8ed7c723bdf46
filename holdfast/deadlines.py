"""Deadlines, carried from a call to every request that is made for it.

    with within(10.0):          tasks that begin inside inherit the deadline, threads get it
        …                       from the workers that run them, and each request asks `left()`

If deadlines are nested, the earliest counts. Work that is done for several callers, or for none
in particular, is `unbounded()`: one caller's impatience must not end it.
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
        seconds: its whole duration, from when it was set.
        clock: of all deadlines of one process, in s.
    """

    at: float
    seconds: float
    clock: Callable[[], float]

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.at - self.clock()


_DEADLINE: Final[ContextVar[Deadline | None]] = ContextVar("deadline", default=None)
"""The current deadline: a context variable, because it has to pass through every layer."""


def current() -> Deadline | None:
    """The deadline of the current work, if it has one."""
    return _DEADLINE.get()


def left() -> float | None:
    """Seconds that are left for the current work; None: it may take any time."""
    deadline = _DEADLINE.get()
    return None if deadline is None else deadline.left


@contextmanager
def within(seconds: float | None, clock: Callable[[], float] = uptime) -> Iterator[Deadline | None]:
    """Bounds the work inside the block; None leaves its bounds as they were.

    Args:
        seconds: from now on.
        clock: in s, including the time for which the machine is suspended.
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


def tighten(seconds: float | None) -> Deadline | None:
    """Bounds all that runs in the current context from now on, and returns its deadline.

    The deadline that is in force stays if it is earlier, or if `seconds` is None.
    """
    deadline = _DEADLINE.get()
    if seconds is not None and (deadline is None or deadline.left > seconds):
        deadline = Deadline(uptime() + seconds, seconds, uptime)
        _DEADLINE.set(deadline)
    return deadline


def begin(seconds: float | None) -> None:
    """Bounds all that this task does from now on; None removes the bound.

    It is for generators, which may be ended by another task than the one that began them.
    """
    _DEADLINE.set(None if seconds is None else Deadline(uptime() + seconds, seconds, uptime))


@contextmanager
def unbounded() -> Iterator[None]:
    """Removes the deadline from work that begins inside the block."""
    token = _DEADLINE.set(None)
    try:
        yield
    finally:
        _DEADLINE.reset(token)
