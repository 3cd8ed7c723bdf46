"""The frontends that a client knows, and the one it is using."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, TypeVar, cast

import grpc
from google.protobuf.message import Message
from tenacity import AttemptManager, RetryCallState, Retrying, retry_if_exception

from holdfast.client.protocol import MAX_MESSAGE, ClientOptions, Patience
from holdfast.client.spans import traced
from holdfast.client.status_codes import CallStatus, error_of
from holdfast.client.tls import Credentials, Tls
from holdfast.client.token_file import TokenFile, check_private
from holdfast.errors import (
    Busy,
    FailedPrecondition,
    HoldfastError,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    Unavailable,
)
from holdfast.protos import content_pb2 as pb
from holdfast.protos.content_pb2_grpc import ContentStub
from holdfast.protos.fleet_pb2_grpc import FleetStub

Response = TypeVar("Response")
Metadata = tuple[tuple[str, str], ...]
Waiting = Callable[[BaseException], None]
"""Called before each wait with the error that caused the retry."""

OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # The death of a frontend's machine is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The client decides about retries itself, by what the contract says of each error.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
)


_CONNECTED: Final[set[int]] = set()
"""Ids of processes in which a store was connected: this one or, in a fork, its parents. gRPC has
one state for a whole process, and a fork copies that state without the threads that work on it.
These threads run for a moment after the last connection was closed, and nothing says how long."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One frontend."""

    target: str
    channel: grpc.Channel
    stub: ContentStub
    write_once: grpc.UnaryUnaryMultiCallable[pb.WriteContentRequest, pb.WriteContentResponse]
    """A Write of one message and one reply. On the wire it is the same as a stream with a single
    message, but without the threads that gRPC gives a stream."""
    fleet: FleetStub


class Frontends:
    """Several equivalent frontends; safe to use from any thread."""

    def __init__(
        self,
        targets: tuple[str, ...],
        metadata: Metadata,
        options: ClientOptions,
        *,
        tls: Tls | None = None,
        token_file: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        waiting: Waiting = lambda _error: None,
    ) -> None:
        self._metadata = metadata
        self.options = options
        self._token = TokenFile(token_file) if token_file is not None else None
        if self._token is not None:
            check_private(targets, tls=tls is not None, proxy=options.http_proxy)
        self._credentials = Credentials(tls) if tls is not None else None
        self._clock = clock
        self._sleep = sleep
        self._waiting = waiting
        self._targets = targets
        self._connections: dict[str, Connection] = {}
        self._left: weakref.WeakSet[grpc.Channel] = weakref.WeakSet()
        self._index = 0
        self._closed = False
        self._lock = threading.Lock()
        self._process = os.getpid()

    @property
    def metadata(self) -> Metadata:
        """What is sent with a call: the tenant, and the token that the file has now."""
        if self._token is None:
            return self._metadata
        self._token.renew()
        return (*self._metadata, *self._token.metadata)

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that connected: it must not touch gRPC.

        A fork doesn't copy gRPC's threads, and locks that they held stay locked.
        """
        return os.getpid() != self._process

    def current(self) -> Connection:
        """The frontend in use; connects at the first call.

        Raises:
            FailedPrecondition: this process is a fork of one in which stores were connected.
            HoldfastError: the store was closed.
        """
        self._refuse_forks()
        with self._lock:
            if self._closed:
                raise HoldfastError("the store was closed; open a new one")
            if self._credentials is not None and self._credentials.renew():
                self._leave_channels()
            target = self._targets[self._index]
            if target not in self._connections:
                self._connections[target] = self._connect(target)
                _CONNECTED.add(self._process)
            return self._connections[target]

    def _leave_channels(self) -> None:
        """Has the next calls make new channels; those under way keep theirs until they end."""
        self._left.update(connection.channel for connection in self._connections.values())
        self._connections.clear()

    def _connect(self, target: str) -> Connection:
        options = list[tuple[str, str | int]](OPTIONS)
        options.append(("grpc.enable_http_proxy", int(self.options.http_proxy)))
        options.append(("grpc.primary_user_agent", f"holdfast/{version('holdfast')}"))
        local = target.startswith("unix:")
        if local:
            # A socket's path isn't a valid host name.
            options.append(("grpc.default_authority", "localhost"))
        if local or self._credentials is None:
            channel = grpc.insecure_channel(target, options=options)
        else:
            options += self._credentials.options
            channel = grpc.secure_channel(target, self._credentials.current, options=options)
        channel = traced(channel, target)
        return Connection(
            target, channel, ContentStub(channel), _write_once(channel), FleetStub(channel)
        )

    def failed(self, target: str) -> None:
        """Switches to the next frontend, unless another thread already has."""
        with self._lock:
            if self._targets[self._index] == target:
                self._index = (self._index + 1) % len(self._targets)

    def translate(self, error: grpc.RpcError, target: str) -> HoldfastError:
        """Our error for a failed call; leaves a frontend that can't answer now."""
        # The error that a call raises is also the call itself.
        proxy = _proxy_of_environment() if self.options.http_proxy else ""
        through = f"{target}, through the proxy {proxy}" if proxy else target
        translated = error_of(cast("CallStatus", error), through)
        if retryable(translated):
            self.failed(target)
        trouble = self._token.trouble if self._token is not None else ""
        if trouble and isinstance(translated, PermissionDenied):
            old = PermissionDenied(f"{translated}; the token is old: {trouble}")
            old.request_id = translated.request_id
            return old
        return translated

    def patience(self, timeout: float | None = None) -> Patience:
        """The patience for one stream, or for a call with so many seconds for each attempt."""
        return Patience(self.options, self._clock, timeout=timeout)

    def attempts(
        self, patience: Patience, again: Callable[[BaseException], bool]
    ) -> Iterator[AttemptManager]:
        """Makes attempts until one succeeds, `again` says no, or the patience is exhausted."""

        def exhausted(state: RetryCallState) -> bool:
            return patience.exhausted(silent=isinstance(_error_of(state), OutcomeUnknown))

        def wait(state: RetryCallState) -> float:
            error = _error_of(state)
            return patience.wait(error.pause if isinstance(error, Overloaded | Busy) else 0.0)

        def say(state: RetryCallState) -> None:
            if error := _error_of(state):
                self._waiting(error)

        return iter(
            Retrying(
                retry=retry_if_exception(again),
                stop=exhausted,
                wait=wait,
                sleep=self._sleep,
                before_sleep=say,
                reraise=True,
            )
        )

    def call(
        self,
        method: Callable[[Connection], Callable[..., Response]],
        request: Message,
        timeout: float | None = None,
    ) -> Response:
        """Repeats a call that may be repeated, until it is answered.

        Args:
            method: returns the call to a frontend.
            request: what it is called with.
            timeout: seconds for each attempt; None: as the options say.

        Raises:
            HoldfastError: the answer, or that none came in time.
        """
        patience = self.patience(timeout or self.options.timeout)
        for attempt in self.attempts(patience, retryable):
            with attempt:
                connection = self.current()
                call = method(connection)
                try:
                    return call(request, timeout=patience.left(), metadata=self.metadata)
                except grpc.RpcError as error:
                    raise self.translate(error, connection.target) from None
        raise AssertionError

    def close(self) -> None:
        """Ends all calls and connections; in a fork, the parent's stay open."""
        if self.forked:
            return
        with self._lock:
            self._closed = True
            self._leave_channels()
            for channel in list(self._left):
                channel.close()

    def _refuse_forks(self) -> None:
        if self.forked or _CONNECTED - {self._process}:
            raise FailedPrecondition(
                f"process {os.getpid()} is a fork of one in which a ContentStore was connected, "
                "and gRPC can hang or crash in it, though the store was closed: connect after the "
                "fork only, or start the process by multiprocessing's 'spawn' or 'forkserver'"
            )


def _write_once(
    channel: grpc.Channel,
) -> grpc.UnaryUnaryMultiCallable[pb.WriteContentRequest, pb.WriteContentResponse]:
    return channel.unary_unary(
        "/containerd.services.content.v1.Content/Write",
        request_serializer=pb.WriteContentRequest.SerializeToString,
        response_deserializer=pb.WriteContentResponse.FromString,
    )


def _proxy_of_environment() -> str:
    """The proxy that gRPC would use, without its password; "" if there is none."""
    found = (os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy"))
    return next((value for value in found if value), "").rpartition("@")[2]


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def retryable(error: BaseException) -> bool:
    """Whether a repeatable call is worth another attempt."""
    return isinstance(error, Unavailable | Overloaded)
