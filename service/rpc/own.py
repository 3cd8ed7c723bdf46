"""The handlers on our own transport."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from holdfast.clocks import uptime
from holdfast.errors import ConfigurationError, because
from holdfast.service.listeners import Listener
from holdfast.service.process.metrics import Metrics
from holdfast.service.rpc.overload import Overload
from holdfast.transport.following import UNFOLLOWED, Follower
from holdfast.transport.handlers import Handler
from holdfast.transport.limits import Limits
from holdfast.transport.server import Server
from holdfast.transport.tls import TlsContext

log = structlog.get_logger(__name__)

BESIDE: Final = 1_000
"""Streams of one connection beyond all RPCs that a frontend admits: health checks, calls that are
about to be refused, and handlers that are still cleaning up."""
AGE: Final = 3600.0
"""Seconds after which a client that has shown a certificate must show it again, so that one whose
issuer isn't trusted any more is gone. The new connection costs a handshake, a few ms. Where tokens
count, it bounds by how much a stream may outlive the token by which it was opened."""


class OwnServer:
    """A server of one listener."""

    def __init__(self, server: Server, path: str) -> None:
        self._server = server
        self._path = path

    async def stop(self, grace: float) -> None:
        """See `Server`; a unix socket's file goes with it."""
        self._unlink()
        await self._server.drain(grace)
        self._server.close()

    def _unlink(self) -> None:
        if self._path:
            Path(self._path).unlink(missing_ok=True)


def limits_of(overload: Overload, listener: Listener) -> Limits:
    """Returns what clients may cost.

    A single connection may carry all that a frontend admits, because containerd has only one: at a
    limit below that, a client would wait where it should be refused, with everything that it does.
    """
    admitted = sum(gate.limit for gate in overload.gates.values())
    verified = listener.tls is not None and bool(listener.tls.client_ca)
    bounded = verified or listener.identity.by_token
    return Limits(max_streams=admitted + BESIDE, age=AGE if bounded else float("inf"))


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
    sockets = await asyncio.to_thread(_bound, listener)  # a name is looked up
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


def _bound(listener: Listener) -> list[socket.socket]:
    """Binds a listener's addresses; a name may have several.

    Raises:
        ConfigurationError: one of them can't be bound.
    """
    try:
        if listener.scheme == "unix":
            return [_unix(listener)]
        return _tcp(listener.host, listener.port)
    except OSError as error:
        raise ConfigurationError(
            f"listener {listener.url!r}: can't listen there ({because(error)}); check whether "
            "the address is in use, or its folder is missing"
        ) from error


def _unix(listener: Listener) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    # Otherwise the socket would be open to others until its mode is set.
    previous = os.umask(0o777 & ~listener.mode)
    try:
        bound.bind(listener.path)
        Path(listener.path).chmod(listener.mode)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(previous)
    return bound


def _tcp(host: str, port: int) -> list[socket.socket]:
    if _unspecified(host) and socket.has_dualstack_ipv6():
        # Both families, whichever was written: a pod has addresses of one, or of both.
        return [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)]
    return _on_each(host, port)


def _unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return False


def _on_each(host: str, port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            where = (address[0], port or (bound[0].getsockname()[1] if bound else 0))
            bound.append(socket.create_server(where, family=family))
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound
