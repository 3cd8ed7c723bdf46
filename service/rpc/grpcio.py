"""The handlers on grpcio's server, to compare and to go back: `HOLDFAST_TRANSPORT=grpcio`.

The handlers, the limits and the errors are those of our own transport. What differs is what
grpcio does itself: docs/transport.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import unquote

import grpc

from holdfast.errors import ConfigurationError
from holdfast.service.listeners import Listener
from holdfast.service.rpc.call import UNTOLD, Buffer, Metadata, OnMessage
from holdfast.service.trust.rotation import Rotation
from holdfast.service.trust.tls_files import LoadedCertificate
from holdfast.transport.certificates import Certificate
from holdfast.transport.following import LEFT, UNFOLLOWED, Follower
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.peers import Peer
from holdfast.transport.server import OpenConnection
from holdfast.transport.status import Code, Status

Context = grpc.aio.ServicerContext[Any, Any]
Result = TypeVar("Result")

MAX_MESSAGE: Final = 16 * 2**20
"""Largest message, in bytes: containerd's own limit."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # gRPC refuses some calls by chance above this bound, 8 KiB by default: less than the longest
    # token and what is beside it.
    ("grpc.max_metadata_size", 16 * 2**10),
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
AGE: Final = 3600.0
GRACE: Final = 600.0
"""Seconds after which clients must show their certificates again: see `own.AGE`."""
CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


LATE: Final = Status(Code.DEADLINE_EXCEEDED, "the deadline has passed")
UNKNOWN: Final = Status(Code.UNKNOWN, "the handler failed")
"""How grpcio ends a call whose handler raises anything but a status."""


class GrpcioCall:
    """One RPC on grpcio's server.

    Attributes:
        path: the RPC, as `/package.Service/Method`.
        request: the client's only message; None if it may send several.
        received: bytes of the messages that were received.
        sent_bytes: bytes of the messages that were sent.
        attachment: see `Call`.
        metadata: see `Call`.
        on_message: see `Call`; it is never called.
        time_remaining: see `Call`.
        arrived: see `Call`; gRPC doesn't tell.
        peer: see `Call`; gRPC doesn't tell which process is behind a unix socket.
    """

    __slots__ = (
        "_context",
        "arrived",
        "attachment",
        "metadata",
        "on_message",
        "path",
        "peer",
        "received",
        "request",
        "sent_bytes",
        "time_remaining",
    )

    def __init__(self, path: str, context: Context, request: bytes | None) -> None:
        self._context = context
        self.path = path
        self.request = request
        self.received = len(request or b"")
        self.sent_bytes = 0
        self.attachment: Any = None
        self.metadata: Metadata = context.invocation_metadata() or ()  # type: ignore[assignment]  # the stubs' own type
        self.on_message: OnMessage | None = None
        self.time_remaining = context.time_remaining
        self.arrived = 0
        self.peer = _peer(context)

    @property
    def ended(self) -> Code | None:
        """See `Call`: gRPC tells of nothing but the deadline."""
        return Code.DEADLINE_EXCEEDED if self.time_remaining() == 0 else None

    def takes(self, size: int) -> bool:
        """See `Call`: gRPC doesn't tell."""
        del size
        return False

    async def announced(self) -> int | None:
        """See `Call`: gRPC collects a whole message before it tells of it."""
        return UNTOLD

    def interrupt(self, error: Exception) -> None:
        """See `Call`: gRPC announces nothing, so that nothing has to be interrupted."""

    async def open(self, most: int) -> None:
        """See `Call`: gRPC collects a whole message, however much of it is wanted."""

    async def receive(self) -> bytes | None:
        """See `Call`.

        It is read from the context, because gRPC's iterator keeps the previous message, up to
        16 MiB, while it waits for the next one.
        """
        request: Any = await self._context.read()
        if request is grpc.aio.EOF:
            return None
        self.received += len(request)
        return bytes(request)

    async def send(self, *pieces: Buffer) -> None:
        """See `Call`."""
        try:
            await self._context.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except grpc.aio.InternalError as error:  # so grpcio says that the client has left
            raise Status(Code.CANCELLED, "the client has left") from error
        self.sent_bytes += sum(map(len, pieces))


def _peer(context: Context) -> Peer:
    shown = context.auth_context().get("x509_pem_cert", ())
    certificate = next((_certificate(pem) for pem in shown), None)
    return Peer(unquote(context.peer()), certificate=certificate)


@lru_cache(maxsize=1024)  # a client's connection, and its next ones, have many calls
def _certificate(pem: bytes) -> Certificate:
    from holdfast.service.trust.certificates import certificate_of_pem  # noqa: PLC0415 -- for TLS alone

    return certificate_of_pem(pem)


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a path."""

    def __init__(self, handlers: Mapping[str, Handler], follower: Follower) -> None:
        self._found = {
            path: _adapted(handler, _Calls(path, follower)) for path, handler in handlers.items()
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """See grpcio."""
        return self._found.get(details.method)


class _Calls:
    """The calls of one RPC."""

    def __init__(self, path: str, follower: Follower) -> None:
        self._path = path
        self._follower = follower

    async def carry_out(
        self,
        context: Context,
        work: Callable[[Any], Awaitable[Result]],
        request: bytes | None = None,
    ) -> Result:
        """Has a call carried out, and followed to its end.

        The handlers use nothing of a call but what `service.rpc.call.Call` has, hence `Any`.
        """
        call, follower = GrpcioCall(self._path, context, request), self._follower
        follower.begins(call)
        follower.enters(call)
        try:
            result = await work(call)
        except Status as status:
            return await _abort(context, status, follower.ends(call, status))
        except asyncio.CancelledError:
            follower.ends(call, LATE if call.time_remaining() == 0 else LEFT)
            raise
        except BaseException:
            follower.ends(call, UNKNOWN)
            raise
        if isinstance(result, bytes):
            call.sent_bytes = len(result)
        follower.ends(call, None)
        return result


def _adapted(handler: Handler, calls: _Calls) -> grpc.RpcMethodHandler[Any, Any]:
    """Makes grpcio's kind of handler, for messages that aren't decoded."""
    match handler:
        case Unary(handle=answer):

            async def unary(raw: bytes, context: Context) -> bytes:
                return await calls.carry_out(context, partial(answer, raw), raw)

            return grpc.unary_unary_rpc_method_handler(unary)
        case ServerStream(handle=stream):

            async def server_stream(raw: bytes, context: Context) -> None:
                await calls.carry_out(context, partial(stream, raw), raw)

            return grpc.unary_stream_rpc_method_handler(server_stream)
        case Bidirectional(handle=converse):

            async def bidirectional(_: object, context: Context) -> None:
                await calls.carry_out(context, converse)

            return grpc.stream_stream_rpc_method_handler(bidirectional)


async def _abort(context: Context, status: Status, added: Metadata) -> NoReturn:
    trailers = (*status.trailers, *added)
    await context.abort(CODES[status.code], status.message, trailers)


class GrpcioServer:
    """A server of one listener."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.connections: list[OpenConnection] = []
        """grpcio tells of none."""
        self.user_agents: list[str] = []
        """So for these."""

    async def stop(self, grace: float) -> None:
        """See `Server`."""
        await self._server.stop(grace)


async def serve(
    listener: Listener,
    handlers: Mapping[str, Handler],
    rotation: Rotation | None = None,
    follower: Follower = UNFOLLOWED,
    connection_age: float = 0.0,
) -> tuple[GrpcioServer, int]:
    """Begins to serve; returns the server, and its TCP port, or 0 for a unix socket.

    Args:
        listener: where.
        handlers: by path.
        rotation: the listener's certificate, if it has one.
        follower: is told of each call.
        connection_age: seconds after which clients connect again over TCP; 0: never.

    Raises:
        ConfigurationError: the address can't be bound, or clients may come without a certificate.
    """
    verified = rotation is not None and bool(rotation.files.client_ca)
    spreads = connection_age if listener.scheme != "unix" else 0.0
    server = grpc.aio.server(options=(*OPTIONS, *_ages(spreads, verified=verified)))
    server.add_generic_rpc_handlers((_Handlers(handlers, follower),))
    port = _bind(server, listener, rotation)
    await server.start()
    return GrpcioServer(server), port


def _ages(connection_age: float, *, verified: bool) -> tuple[tuple[str, int], ...]:
    """Returns when connections end, and how long their streams have then: see `own.limits_of`."""
    age = connection_age or float("inf")
    if not verified:
        return () if age == float("inf") else (("grpc.max_connection_age_ms", int(age * 1000)),)
    age = min(age, AGE)
    return (
        ("grpc.max_connection_age_ms", int(age * 1000)),
        ("grpc.max_connection_age_grace_ms", int((AGE + GRACE - age) * 1000)),
    )


def _bind(server: grpc.aio.Server, listener: Listener, rotation: Rotation | None) -> int:
    # Otherwise a unix socket would be open to others until its mode is set.
    previous = os.umask(0o777 & ~listener.mode)
    try:
        port = (
            server.add_insecure_port(listener.address)
            if rotation is None
            else server.add_secure_port(listener.address, _credentials(rotation))
        )
    except RuntimeError as error:
        raise ConfigurationError(
            f"listener {listener.url!r}: can't listen there; check whether "
            "the address is in use, or its folder is missing"
        ) from error
    finally:
        os.umask(previous)
    if listener.scheme == "unix":
        Path(listener.path).chmod(listener.mode)
        return 0
    return int(port)


def _credentials(rotation: Rotation) -> grpc.ServerCredentials:
    """Returns credentials that change with a certificate's files.

    Raises:
        ConfigurationError: clients may come without a certificate, which gRPC can't do.
    """
    if rotation.files.optional:
        raise ConfigurationError(
            f"listener {rotation.listener}: client-certificate=optional needs "
            "HOLDFAST_TRANSPORT=own"
        )
    used = rotation.current

    def configuration(loaded: LoadedCertificate) -> grpc.ServerCertificateConfiguration:
        pairs = [(loaded.key, loaded.chain)]
        return grpc.ssl_server_certificate_configuration(pairs, loaded.client_ca or None)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC, in threads of its own, before each handshake."""
        nonlocal used
        if (current := rotation.current) is used:
            return None
        used = current
        return configuration(current)

    fetcher: Any = changed  # None is allowed, which the stubs don't know
    return grpc.dynamic_ssl_server_credentials(
        configuration(used), fetcher, require_client_authentication=bool(rotation.files.client_ca)
    )
