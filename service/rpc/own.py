"""The handlers on our own transport."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from holdfast.clocks import uptime
from holdfast.service.listeners import Listener
from holdfast.service.process.metrics import Metrics
from holdfast.service.process.sockets import bound_sockets
from holdfast.service.rpc.overload import Overload
from holdfast.transport.following import UNFOLLOWED, Follower
from holdfast.transport.handlers import Handler
from holdfast.transport.limits import Limits
from holdfast.transport.server import OpenConnection, Server
from holdfast.transport.tls import TlsContext

log = structlog.get_logger(__name__)

BESIDE: Final = 1_000
"""Streams of one connection beyond all RPCs that a frontend admits: health checks, calls that are
about to be refused, and handlers that are still cleaning up."""
AGE: Final = 3600.0
"""Seconds after which a client that has shown a certificate must show it again, so that one whose
issuer isn't trusted any more is gone. The new connection costs a handshake, a few ms. Where tokens
count, it bounds by how much a stream may outlive the token by which it was opened."""
GRACE: Final = 600.0
"""Seconds that such a client's streams have then."""


class OwnServer:
    """A server of one listener."""

    def __init__(self, server: Server, path: str) -> None:
        self._server = server
        self._path = path

    @property
    def connections(self) -> list[OpenConnection]:
        """The connections that are open."""
        return self._server.connections

    @property
    def user_agents(self) -> list[str]:
        """What their clients say that they are."""
        return self._server.user_agents

    async def stop(self, grace: float) -> None:
        """See `Server`; a unix socket's file goes with it."""
        self._unlink()
        await self._server.drain(grace)
        self._server.close()

    def _unlink(self) -> None:
        if self._path:
            Path(self._path).unlink(missing_ok=True)


def limits_of(overload: Overload, listener: Listener, connection_age: float = 0.0) -> Limits:
    """Returns what clients may cost.

    A single connection may carry all that a frontend admits, because containerd has only one: at a
    limit below that, a client would wait where it should be refused, with everything that it does.

    Args:
        overload: how many RPCs are admitted.
        listener: where the clients connect.
        connection_age: seconds after which those connected over TCP connect again; 0: never.
    """
    admitted = sum(gate.limit for gate in overload.gates.values())
    verified = listener.tls is not None and bool(listener.tls.client_ca)
    bounded = verified or listener.identity.by_token
    spreads = connection_age > 0 and listener.scheme != "unix"
    age = connection_age if spreads else float("inf")
    # To spread clients, no stream needs to end; to be rid of a client, all have to, and as late.
    grace = float("inf")
    if bounded:
        age = min(age, AGE)
        grace = AGE + GRACE - age
    return Limits(max_streams=admitted + BESIDE, age=age, age_grace=grace)


async def serve(
    listener: Listener,
    handlers: Mapping[str, Handler],
    limits: Limits,
    metrics: Metrics,
    *,
    tls: TlsContext | None = None,
    follower: Follower = UNFOLLOWED,
) -> tuple[OwnServer, int]:
    """Begins to serve; returns the server, and its TCP port, or 0 for a unix socket.

    Args:
        listener: where.
        handlers: by path.
        limits: what clients may cost.
        metrics: shows what the server counts.
        tls: how connections are encrypted; they aren't if it is None.
        follower: is told of each call.

    Raises:
        ConfigurationError: the address can't be bound.
    """
    sockets = await asyncio.to_thread(bound_sockets, listener)  # a name is looked up
    server = Server(
        handlers,
        limits,
        clock=uptime,
        spread=random.uniform,
        unexpected=_unexpected,
        follower=follower,
    )
    metrics.transport(server.counts)
    for bound in sockets:
        await server.listen(bound, tls)
    port = 0 if listener.scheme == "unix" else int(sockets[0].getsockname()[1])
    return OwnServer(server, listener.path), port


def _unexpected(path: str, error: BaseException) -> None:
    log.error("RPC failed with an unexpected error", rpc=path, exc_info=error)
