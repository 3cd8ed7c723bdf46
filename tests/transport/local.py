"""A server in the test's own loop, so that its counts and its memory can be seen."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from holdfast.transport.limits import Limits
from holdfast.transport.server import Server
from holdfast.transport.tls import TlsContext

from . import interop_service
from .bytes_service import BytesService
from .floods import ECHO

GRACE = 0.0
"""Seconds that calls have at the end of a test."""


@dataclass
class Local:
    """What serves."""

    port: int
    service: BytesService
    server: Server
    failures: list[tuple[str, BaseException]] = field(default_factory=list)
    """What was raised that was no status, and where."""

    def channel(self) -> grpc.aio.Channel:
        """A channel to it, of its own connection."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options)


def bound(port: int = 0) -> socket.socket:
    """A socket on loopback that others may be bound beside."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


async def listening(limits: Limits, port: int = 0, tls: TlsContext | None = None) -> Local:
    """Serves the bytes and the interop service from now on."""
    service = BytesService()
    failures: list[tuple[str, BaseException]] = []
    server = Server(
        {**service.handlers(), **interop_service.handlers()},
        limits,
        clock=time.monotonic,
        spread=random.uniform,
        unexpected=lambda path, error: failures.append((path, error)),
    )
    sock = bound(port)
    number: int = sock.getsockname()[1]
    await server.listen(sock, tls)
    return Local(number, service, server, failures)


@asynccontextmanager
async def serving(
    limits: Limits = Limits(),  # noqa: B008 -- frozen
    tls: TlsContext | None = None,
) -> AsyncIterator[Local]:
    """Serves until the block ends."""
    local = await listening(limits, tls=tls)
    try:
        yield local
    finally:
        await local.server.drain(GRACE)


async def is_served(local: Local) -> None:
    """Shows that another client is answered."""
    async with local.channel() as channel:
        echo = channel.unary_unary(ECHO, bytes, bytes)
        # A busy machine may take longer to connect than a test's short bound allows.
        assert await echo(b"me too", timeout=30, wait_for_ready=True) == b"me too"
