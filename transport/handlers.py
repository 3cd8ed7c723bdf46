"""What a server does about an RPC: a handler for each path, of one of three kinds.

A handler that can answer from memory has an `at_once`, too: it is called without a task, and if it
returns None, `handle` is. Both may raise `Status`; anything else that they raise is reported, and
the client gets INTERNAL without details.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from holdfast.transport.call import Call
from holdfast.transport.outgoing import Buffer


@dataclass(frozen=True, slots=True)
class Unary:
    """One message, answered by one."""

    handle: Callable[[bytes, Call], Awaitable[bytes]]
    at_once: Callable[[bytes, Call], bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class ServerStream:
    """One message, answered by any number of them: `handle` sends them by `call.send`."""

    handle: Callable[[bytes, Call], Awaitable[None]]
    at_once: Callable[[bytes, Call], Sequence[Sequence[Buffer]] | None] | None = None
    """Returns all messages, each as its pieces. If the client's windows are too small for them, a
    task sends them."""


@dataclass(frozen=True, slots=True)
class Bidirectional:
    """Messages in both directions: `handle` receives and sends them by its call."""

    handle: Callable[[Call], Awaitable[None]]


Handler = Unary | ServerStream | Bidirectional
