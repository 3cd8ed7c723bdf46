"""A server of the transport for a test, and a client of grpc.aio for it."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from holdfast.clocks import uptime
from holdfast.transport import Follower, Handler, Limits, Server, TlsContext
from holdfast.transport.following import UNFOLLOWED

PATH = "/test.Service/Method"
"""The one RPC of most tests."""
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def unary_call(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """The RPC at `PATH`, as one message for one."""
    return channel.unary_unary(PATH)


def stream_call(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamMultiCallable[bytes, bytes]:
    """The RPC at `PATH`, as many messages for one."""
    return channel.unary_stream(PATH)


def both_ways(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamMultiCallable[bytes, bytes]:
    """The RPC at `PATH`, with messages in both directions."""
    return channel.stream_stream(PATH)


def content(size: int) -> bytes:
    """Bytes that differ from those of other sizes."""
    return random.Random(size).randbytes(size)  # noqa: S311 -- content, not a secret


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, which others on this loop bring about."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- counts have no event
            await asyncio.sleep(0.01)


@dataclass
class Running:
    """A server that serves."""

    server: Server
    address: str
    """As gRPC's clients write it."""
    port: int
    unexpected: list[BaseException] = field(default_factory=list)
    """What handlers have raised that isn't a status."""

    def channel(self) -> grpc.aio.Channel:
        """A client's channel of its own."""
        options = (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1))
        return grpc.aio.insecure_channel(self.address, options=options)


@asynccontextmanager
async def serving(
    handlers: Mapping[str, Handler],
    limits: Limits | None = None,
    *,
    path: Path | None = None,
    tls: TlsContext | None = None,
    now: Callable[[], float] = time.time,
    follower: Follower = UNFOLLOWED,
) -> AsyncIterator[Running]:
    """Serves handlers on loopback, or on a unix socket at a path."""
    found: list[BaseException] = []
    server = Server(
        handlers,
        limits or Limits(),
        clock=uptime,
        now=now,
        spread=lambda low, high: (low + high) / 2,
        unexpected=lambda _, error: found.append(error),
        follower=follower,
    )
    if path is None:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        running = Running(server, f"127.0.0.1:{port}", port, found)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        running = Running(server, f"unix:{path}", 0, found)
    await server.listen(sock, tls)
    try:
        yield running
    finally:
        await server.drain(0)
