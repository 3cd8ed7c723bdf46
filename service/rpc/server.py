"""The gRPC servers: one for each listener, health, reflection, draining."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from holdfast.errors import ConfigurationError, because
from holdfast.service.listeners import Listener
from holdfast.service.process.background import end
from holdfast.service.rpc.content import SERVICE, ContentServicer, Frontend, register
from holdfast.tasks import begin

log = structlog.get_logger(__name__)

MAX_MESSAGE: Final = 16 * 2**20
"""Largest message, in bytes: containerd's own limit."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # Without this, two servers on one port would share its clients at random, unnoticed.
    ("grpc.so_reuseport", 0),
    # Otherwise gRPC would keep some MiB for each stream that isn't read from, outside all budgets.
    ("grpc.http2.bdp_probe", 0),
    # overload.py refuses calls beyond the limits, and says when to retry. Beyond these two, gRPC's
    # core would drop waiting calls as CANCELLED, which no client retries.
    ("grpc.server.max_pending_requests", 2**30),
    ("grpc.server.max_pending_requests_hard_limit", 2**30),
    # A client whose machine has died is noticed within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)
STOP_PATIENCE: Final = 10.0
"""Seconds, after the grace, within which a server must have ended all calls."""


class Servers:
    """All listeners of one frontend."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._servers: list[grpc.aio.Server] = []
        self._health = health_aio.HealthServicer()
        self.ports: dict[str, int] = {}

    async def listen(self, listener: Listener) -> int:
        """Begins to serve on a listener; returns its TCP port, or 0 for a unix socket.

        Raises:
            ConfigurationError: the address is in use or can't be bound.
        """
        server = grpc.aio.server(options=OPTIONS)
        register(ContentServicer(self._frontend, listener), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, HEALTH_NAME, reflection.SERVICE_NAME), server)
        port = _bind(server, listener)
        await server.start()
        self._servers.append(server)
        self.ports[listener.url] = port
        log.info("listening", url=listener.url, port=port)
        return port

    async def ready(self) -> None:
        """Makes health checks report that requests are accepted."""
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace: float) -> None:
        """Refuses new streams, gives running ones `grace` seconds, then ends them."""
        self._frontend.sessions.draining = True
        await self._health.enter_graceful_shutdown()
        stops = [begin(server.stop(grace)) for server in self._servers]
        if stops:
            _, late = await asyncio.wait(stops, timeout=grace + STOP_PATIENCE)
            if not await end(late, attempts=1) or late:
                log.warning("gRPC servers still running; they are left behind", servers=len(late))


def _bind(server: grpc.aio.Server, listener: Listener) -> int:
    if listener.scheme == "unix":
        free_socket(listener)
    # Otherwise the socket would be open to others until its mode is set.
    previous = os.umask(0o777 & ~listener.mode)
    try:
        port = server.add_insecure_port(listener.address)
    except RuntimeError as error:
        raise ConfigurationError(
            f"listener {listener.url!r}: can't listen there; check whether "
            "the address is in use, or its folder is missing"
        ) from error
    finally:
        os.umask(previous)
    if listener.scheme == "unix":
        Path(listener.path).chmod(listener.mode)
    return 0 if listener.scheme == "unix" else int(port)


def free_socket(listener: Listener) -> None:
    """Removes a socket that a dead server has left at the listener's path.

    Raises:
        ConfigurationError: another server listens there, or the file isn't a socket.
    """
    path = Path(listener.path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"listener {listener.url!r}: {listener.path} is there and isn't a socket"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(listener.path)
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise ConfigurationError(f"listener {listener.url!r}: {because(error)}") from error
    raise ConfigurationError(f"listener {listener.url!r}: another server listens there")
