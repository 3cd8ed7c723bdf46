"""Origins: which RPC the current work is done for, carried to everything that is done for it.

    enter(origin)       the task, and all tasks and threads that it begins, work for that RPC
        … current()     what logs a line says for whom
        … step(…)       what asks a backend is a step of that RPC, for its trace

Work of the process itself, such as a loop, has no origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol


class Origin(Protocol):
    """An RPC that work is done for."""

    @property
    def request_id(self) -> str:
        """The name by which all programs that work on one request know it."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, str | bytes]]:
        """The metadata by which other programs that work on the request know it."""
        ...

    @property
    def trace_id(self) -> str:
        """The trace that the RPC belongs to, as 32 hex digits; "" if it isn't recorded."""
        ...

    def step(self, system: str, operation: str, subject: str) -> AbstractContextManager[None]:
        """Surrounds a step of the work, such as a request to a backend; see `step`."""
        ...


NOTHING: Final[AbstractContextManager[None]] = nullcontext()
"""Surrounds a step that nobody records."""

_ORIGIN: Final[ContextVar[Origin | None]] = ContextVar("origin", default=None)
"""A context variable, as a deadline is: it passes through every layer."""


def current() -> Origin | None:
    """The RPC that the current work is done for; None if there is none."""
    return _ORIGIN.get()


def enter(origin: Origin | None) -> None:
    """Has all that this task does from now on be done for an RPC."""
    _ORIGIN.set(origin)


def step(system: str, operation: str, subject: str = "") -> AbstractContextManager[None]:
    """Surrounds a step of the current work, so that the trace of its RPC shows it.

    Args:
        system: what is asked: `S3`, `Redis`, `folder`.
        operation: what it does, by the name that the system has for it.
        subject: what it is about, such as a key; no content, and nothing secret.
    """
    origin = _ORIGIN.get()
    return NOTHING if origin is None else origin.step(system, operation, subject)


def exemplar() -> dict[str, str] | None:
    """What joins a figure to the trace of the current work; None if that isn't recorded."""
    origin = _ORIGIN.get()
    return {"trace_id": origin.trace_id} if origin is not None and origin.trace_id else None
