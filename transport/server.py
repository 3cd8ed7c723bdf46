"""The server: listeners, the connections that they accept, and how all of it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.transport.counts import Counts
from holdfast.transport.following import UNFOLLOWED, Follower
from holdfast.transport.handlers import Handler
from holdfast.transport.limits import Limits
from holdfast.transport.listening import Listening
from holdfast.transport.peers import Peer
from holdfast.transport.protocol import Shared
from holdfast.transport.serving import Serving
from holdfast.transport.status import Code, Status
from holdfast.transport.tls import TlsContext

LEAVING: Final = Status(Code.UNAVAILABLE, "the server is shutting down")
PATIENCE: Final = 5.0
"""Seconds that cancelled handlers have to clean up."""


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """What is known of a connection.

    Attributes:
        peer: the client.
        streams: how many it has open.
        seconds: since it was made.
        silent: seconds since the last byte came from the client.
        draining: whether the client was told to open no more streams.
        user_agent: which program the client says that it is; "" if it has said nothing.
    """

    peer: Peer
    streams: int
    seconds: float
    silent: float
    draining: bool
    user_agent: str


class Server:
    """A gRPC server on one event loop."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        limits: Limits = Limits(),  # noqa: B008 -- frozen
        *,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
        spread: Callable[[float, float], float],
        unexpected: Callable[[str, BaseException], None],
        follower: Follower = UNFOLLOWED,
    ) -> None:
        """Begins without listeners; call it in the loop that will serve.

        Args:
            handlers: by path, as `/package.Service/Method`.
            limits: what clients may cost.
            clock: monotonic, in s.
            now: Unix seconds, for the end of certificates.
            spread: returns a random number between two.
            unexpected: told of exceptions that a handler should not raise, with the path.
            follower: is told of each call.
        """
        self.counts = Counts()
        """What the server has done."""
        self._serving = Serving(
            handlers, limits, self.counts, clock=clock, unexpected=unexpected, follower=follower
        )
        self._loop = asyncio.get_running_loop()
        self._shared = Shared(
            self._serving,
            limits,
            self.counts,
            loop=self._loop,
            clock=clock,
            now=now,
            spread=spread,
            unexpected=unexpected,
        )
        self._listening: list[Listening] = []

    async def listen(self, sock: socket.socket, tls: TlsContext | None = None) -> None:
        """Accepts connections on a bound socket, of TCP or unix, which now belongs to the server.

        Args:
            sock: the socket.
            tls: how connections are encrypted; they aren't if it is None.
        """
        self._listening.append(Listening(sock, tls, self._shared))

    async def drain(self, grace: float) -> None:
        """Ends all connections: calls that were accepted have `grace` seconds to end.

        New calls are refused so that clients retry them by themselves. What is left after the grace
        ends with UNAVAILABLE, and its handlers are cancelled.
        """
        self._shared.draining = True
        for one in list(self._shared.connections):
            one.drain()
        patience = min(grace, self._shared.limits.round_trip)
        await asyncio.gather(*(listening.stop(patience) for listening in self._listening))
        await self._wait_until_closed(grace)
        for one in list(self._shared.connections):
            one.connection.end(LEAVING)
        await self._wait_until_closed(self._shared.limits.farewell)
        self.close()
        if self._serving.tasks:
            await asyncio.wait(self._serving.tasks, timeout=PATIENCE)

    @property
    def connections(self) -> list[OpenConnection]:
        """The connections that are open."""
        now = self._shared.clock()
        return [
            OpenConnection(
                one.connection.peer,
                one.connection.streams,
                seconds=now - one.since,
                silent=now - one.heard,
                draining=one.connection.draining,
                user_agent=one.connection.user_agent or "",
            )
            for one in self._shared.connections
        ]

    @property
    def user_agents(self) -> list[str]:
        """What the clients of open connections say that they are, of those that have made a call.

        Unlike `connections`, this is quick enough to be looked at all the time.
        """
        said = (one.connection.user_agent for one in self._shared.connections)
        return [name for name in said if name is not None]

    async def _wait_until_closed(self, patience: float) -> None:
        closed = [one.closed for one in self._shared.connections]
        if closed:
            await asyncio.wait(closed, timeout=patience)

    def close(self) -> None:
        """Closes everything at once; handlers are cancelled."""
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        for one in list(self._shared.connections):
            one.abort()
