"""Origins: which RPC the current work is done for, carried to everything that is done for it.

    enter(origin)       the task, and all tasks and threads that it begins, work for that RPC
        … current()     what logs a line, or asks a backend, says for whom

Work of the process itself, such as a loop, has no origin.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final, Protocol


class Origin(Protocol):
    """An RPC that work is done for."""

    @property
    def request_id(self) -> str:
        """The name by which all programs that work on one request know it."""
        ...


_ORIGIN: Final[ContextVar[Origin | None]] = ContextVar("origin", default=None)
"""A context variable, as a deadline is: it passes through every layer."""


def current() -> Origin | None:
    """The RPC that the current work is done for; None if there is none."""
    return _ORIGIN.get()


def enter(origin: Origin | None) -> None:
    """Has all that this task does from now on be done for an RPC."""
    _ORIGIN.set(origin)
