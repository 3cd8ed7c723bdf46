"""The connections of the HTTP port: no more than a few, and always room for a probe.

If there are too many, the one that has been silent for longest makes room, or has sent requests for
longest without waiting for answers. So neither connections that are opened and left alone cost
anybody anything, nor those that are never done: not the probe that comes after a thousand of them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.service.web.connection import HEAD, HttpConnection
from holdfast.tasks import begin

MOST: Final = 256
"""Connections at once: each costs a file descriptor, and some 10 KiB."""


@dataclass(slots=True, eq=False)
class Visitor:
    """A client that was let in, whether or not its handshake is over."""

    connection: HttpConnection
    welcome: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Closes its connection."""
        if self.connection.made:
            self.connection.end()
        elif self.welcome is not None:
            self.welcome.cancel()


class Visitors:
    """All clients that are there."""

    def __init__(self, make: Callable[[], HttpConnection], clock: Callable[[], float]) -> None:
        """Begins empty.

        Args:
            make: makes a connection.
            clock: in s, never set back.
        """
        self._make = make
        self._clock = clock
        self._here: dict[Visitor, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        return len(self._here)

    def admit(self, client: socket.socket, context: ssl.SSLContext | None) -> None:
        """Lets a client in; if there are too many, another one goes.

        Args:
            client: its socket, which now belongs to the connection.
            context: how the connection is encrypted; it isn't if it is None.
        """
        if len(self._here) >= MOST:
            self._make_room()
        visitor = Visitor(self._make())
        visitor.connection.gone = lambda: self._here.pop(visitor, None)
        self._here[visitor] = None
        visitor.welcome = begin(self._welcome(visitor, client, context))
        visitor.welcome.add_done_callback(lambda _: self._welcomed(visitor))

    def _make_room(self) -> None:
        """Has the client leave that was served longest ago; one that waits for an answer last."""

        def order(one: Visitor) -> tuple[bool, float]:
            connection = one.connection
            return not (connection.waiting or connection.hurried), connection.since

        oldest = min(self._here, key=order)
        del self._here[oldest]
        oldest.leave()

    async def _welcome(
        self, visitor: Visitor, client: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: visitor.connection,
                client,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HEAD,
            )
        except (OSError, EOFError):  # TLS's errors are of the operating system, too
            client.close()

    def _welcomed(self, visitor: Visitor) -> None:
        visitor.welcome = None
        if not visitor.connection.made:
            self._here.pop(visitor, None)

    def sweep(self) -> None:
        """Closes the connections of those who are late."""
        now = self._clock()
        for visitor in [one for one in self._here if now >= one.connection.deadline]:
            visitor.leave()

    def leave(self) -> None:
        """Closes all connections."""
        for visitor in list(self._here):
            visitor.leave()
