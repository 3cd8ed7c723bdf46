"""The gRPC servers: one for each listener, on the transport of the settings; health, draining."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from holdfast.errors import ConfigurationError
from holdfast.service.listeners import Listener
from holdfast.service.process.background import end, loop_of
from holdfast.service.process.sockets import free_socket
from holdfast.service.rpc import fleet as fleet_service
from holdfast.service.rpc import grpcio, own, reflection
from holdfast.service.rpc import health as health_service
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.content import SERVICE, Content
from holdfast.service.rpc.fleet import Fleet
from holdfast.service.rpc.health import Health
from holdfast.service.rpc.parts import Frontend
from holdfast.service.settings import Transport
from holdfast.service.trust.rotation import PERIOD, Rotation
from holdfast.tasks import begin
from holdfast.transport.handlers import Handler
from holdfast.transport.server import OpenConnection

log = structlog.get_logger(__name__)

STOP_PATIENCE: Final = 10.0
"""Seconds, after the grace, within which a server must have ended all calls."""


class Server(Protocol):
    """A server of one listener."""

    @property
    def connections(self) -> list[OpenConnection]:
        """The connections that are open, as far as the transport tells."""
        ...

    @property
    def user_agents(self) -> list[str]:
        """What their clients say that they are, as far as the transport tells."""
        ...

    async def stop(self, grace: float) -> None:
        """Accepts no new calls, gives running ones `grace` seconds, then ends them."""
        ...


class Servers:
    """All listeners of one frontend."""

    def __init__(self, frontend: Frontend, transport: Transport, *, period: float = PERIOD) -> None:
        """Begins without listeners.

        Args:
            frontend: what they serve.
            transport: what carries the RPCs.
            period: seconds between two looks at certificates' files.
        """
        self._period = period
        self._frontend = frontend
        self._transport = transport
        self._servers: list[Server] = []
        self._rotations: list[asyncio.Task[None]] = []
        self._health = Health([SERVICE])
        self.ports: dict[str, int] = {}
        frontend.overview.show_clients(self.user_agents)

    async def listen(self, listener: Listener) -> int:
        """Begins to serve on a listener; returns its TCP port, or 0 for a unix socket.

        Raises:
            ConfigurationError: the address is in use or can't be bound, or the certificate, the
                rules or the keys can't be used.
        """
        if listener.scheme == "unix":
            free_socket(listener)
        rotation = await self._certificate(listener)
        recognition = await asyncio.to_thread(self._frontend.recognizers.of, listener.identity)
        await self._check_users(listener)
        authority = Authority(recognition, self._frontend.audit, self._frontend.call_deadline)
        server, port = await self._begin(listener, self._handlers(authority), rotation)
        self._servers.append(server)
        self.ports[listener.url] = port
        log.info("listening", url=listener.url, port=port)
        return port

    async def _check_users(self, listener: Listener) -> None:
        """Refuses rules by which nobody could ever be recognized.

        Raises:
            ConfigurationError: a rule looks at clients' users, of whom gRPC doesn't tell.
        """
        if self._transport == "own" or listener.scheme != "unix":
            return
        if await asyncio.to_thread(self._frontend.recognizers.of_users, listener.identity):
            raise ConfigurationError(
                f"listener {listener.url!r}: rules by user (uids=, uid) need "
                "HOLDFAST_TRANSPORT=own: grpcio's server doesn't know which user connects"
            )

    async def _certificate(self, listener: Listener) -> Rotation | None:
        """Loads a listener's certificate, and begins to watch its files."""
        if listener.tls is None:
            return None
        rotation = await asyncio.to_thread(
            Rotation, listener.name, listener.tls, time.time, self._period
        )
        self._frontend.metrics.certificate(rotation)
        self._rotations.append(loop_of("watching a certificate", rotation.keep()))
        return rotation

    def _handlers(self, authority: Authority) -> Mapping[str, Handler]:
        frontend = self._frontend
        fleet = Fleet(
            frontend.flights,
            frontend.warming,
            frontend.reader,
            frontend.overview,
            authority,
            overload=frontend.overload,
            metrics=frontend.metrics,
            call_deadline=frontend.call_deadline,
        )
        return {
            **Content(frontend, authority).handlers(),
            **fleet.handlers(),
            **self._health.handlers(),
            **reflection.handlers((SERVICE, fleet_service.SERVICE, health_service.SERVICE)),
        }

    async def _begin(
        self, listener: Listener, handlers: Mapping[str, Handler], rotation: Rotation | None
    ) -> tuple[Server, int]:
        frontend = self._frontend
        if self._transport == "own":
            return await own.serve(
                listener,
                handlers,
                own.limits_of(frontend.overload, listener, frontend.connection_age),
                frontend.metrics,
                tls=rotation.contexts if rotation else None,
                follower=frontend.accounts,
            )
        return await grpcio.serve(
            listener, handlers, rotation, frontend.accounts, frontend.connection_age
        )

    def connections(self) -> list[OpenConnection]:
        """The connections that are open, as far as the transport tells."""
        return [connection for server in self._servers for connection in server.connections]

    def user_agents(self) -> list[str]:
        """What their clients say that they are, as far as the transport tells."""
        return [name for server in self._servers for name in server.user_agents]

    async def ready(self) -> None:
        """Makes health checks report that requests are accepted."""
        self._health.serve()

    async def drain(self, grace: float) -> None:
        """Accepts no new streams, gives running ones `grace` seconds, then ends them."""
        sessions = self._frontend.sessions
        # Our own transport serves all that it has accepted. It refuses the rest so that gRPC's
        # clients retry it elsewhere; a stream that is refused here would fail.
        sessions.draining = self._transport != "own"
        self._health.end()
        self._frontend.background.start(self._frontend.overview.drain())
        stops = [begin(server.stop(grace)) for server in self._servers]
        if stops:
            _, late = await asyncio.wait(stops, timeout=grace + STOP_PATIENCE)
            if not await end(late, attempts=1) or late:
                log.warning("gRPC servers still running; they are left behind", servers=len(late))
        await end(self._rotations)
        sessions.draining = True
