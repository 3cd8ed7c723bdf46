"""The listeners of an agent, on our own transport."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holdfast.errors import ConfigurationError
from holdfast.service.agent.content import AgentContent, AgentParts
from holdfast.service.listeners import Listener
from holdfast.service.process.sockets import free_socket
from holdfast.service.rpc import fleet, health, own, reflection
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.content import SERVICE
from holdfast.service.rpc.health import Health
from holdfast.service.rpc.own import OwnServer
from holdfast.service.rpc.server import STOP_PATIENCE
from holdfast.transport.server import OpenConnection

log = structlog.get_logger(__name__)

SERVICES: Final = (SERVICE, fleet.SERVICE, health.SERVICE)


class AgentServers:
    """All listeners of one agent."""

    def __init__(self, parts: AgentParts) -> None:
        self._parts = parts
        self._servers: list[OwnServer] = []
        self._health = Health([SERVICE])

    async def listen(self, listener: Listener) -> int:
        """Begins to serve on a listener; returns its TCP port, or 0 for a unix socket.

        Raises:
            ConfigurationError: the address is in use or can't be bound, or it is of TLS: an agent
                serves its own machine.
        """
        if listener.tls is not None:
            raise ConfigurationError(
                f"listener {listener.url!r}: an agent serves its own machine; use "
                "unix:///path.sock?tenant=NAME"
            )
        if listener.scheme == "unix":
            free_socket(listener)
        parts = self._parts
        recognition = await asyncio.to_thread(parts.recognizers.of, listener.identity)
        authority = Authority(recognition, parts.audit, parts.call_deadline)
        handlers = {
            **AgentContent(parts, authority, listener.tenant).handlers(),
            **self._health.handlers(),
            **reflection.handlers(SERVICES),
        }
        limits = own.limits_of(parts.overload, listener)
        server, port = await own.serve(
            listener, handlers, limits, parts.metrics, follower=parts.accounts
        )
        self._servers.append(server)
        log.info("listening", url=listener.url, port=port)
        return port

    def connections(self) -> list[OpenConnection]:
        """The connections that are open."""
        return [connection for server in self._servers for connection in server.connections]

    def ready(self) -> None:
        """Makes health checks report that requests are accepted."""
        self._health.serve()

    async def drain(self, grace: float) -> None:
        """Accepts no new calls, gives running ones `grace` seconds, then ends them."""
        self._health.end()
        async with asyncio.timeout(grace + STOP_PATIENCE):
            await asyncio.gather(*(server.stop(grace) for server in self._servers))
