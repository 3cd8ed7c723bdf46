"""Connections to S3 on the event loop, for small requests: nothing blocks, and no thread waits.

Each connection carries one request at a time. It is given back only once the reply to its request
has arrived as a whole, so no later request can get that reply.
"""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from holdfast import switching
from holdfast.deadlines import Deadline
from holdfast.storage.s3_blocking import unasked
from holdfast.storage.s3_circuit import attempt, patience
from holdfast.storage.s3_idle import KEPT, socket_options
from holdfast.storage.s3_place import PORTS, Place
from holdfast.storage.s3_replies import Answer, Malformed, ReplyReader, Request
from holdfast.storage.s3_settings import S3Settings
from holdfast.tasks import begin

SMALL: Final = 256 * 1024
"""Most bytes of a body that are sent from the loop; a thread takes more to the socket meanwhile."""


class LoopConnection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        """Isn't connected yet."""
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._reader: ReplyReader | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._end: Deadline | None = None
        self._unsent = 0

    @property
    def usable(self) -> bool:
        """Whether it can carry a request: the server has neither ended it nor sent anything."""
        transport = self._transport
        return (
            transport is not None and not transport.is_closing() and not unasked(self._descriptor)
        )

    @property
    def _closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def ask(
        self,
        request: bytes,
        method: str,
        silence: float,
        end: Deadline | None = None,
        most: int | None = None,
    ) -> asyncio.Future[Answer]:
        """Sends a request; what is returned becomes its answer. `most`: see `Request`.

        It fails with TimeoutError if not a byte moves for `silence` seconds, or if the answer
        isn't complete at its `end`, and with ConnectionError or Malformed if the connection
        breaks or what arrives is no reply.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._closing:
            raise ConnectionResetError("the connection was closed")
        self._answer = loop.create_future()
        self._reader = ReplyReader(method, most)
        self._transport.write(request)
        self._heard, self._unsent = loop.time(), self._transport.get_write_buffer_size()
        self._end = end
        first = silence if end is None else min(silence, end.seconds)
        self._timer = loop.call_later(first, self._look, loop, silence)
        return self._answer

    @property
    def keeps(self) -> bool:
        """Whether it can be kept for another request, once it has an answer."""
        return self._reader is not None and self._reader.complete and self._reader.keeps

    def close(self) -> None:
        """Closes it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _look(self, loop: AbstractEventLoop, silence: float) -> None:
        """Gives up if nothing has moved, or the time is over; otherwise, looks again later."""
        unsent = self._transport.get_write_buffer_size() if self._transport else 0
        if unsent < self._unsent:
            self._heard, self._unsent = loop.time(), unsent
        left = self._heard + silence - loop.time()
        if self._end is not None:
            left = min(left, self._end.left)
        if left <= 0:
            self._fail(TimeoutError("no byte has moved, or not all of them, in time"))
        else:
            self._timer = loop.call_later(left, self._look, loop, silence)

    def _fail(self, error: Exception) -> None:
        self._settle()
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- of asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes its transport, and makes the socket probe its connection."""
        self._transport = cast("asyncio.Transport", transport)  # of a stream; uvloop's differ
        self._descriptor = transport.get_extra_info("socket").fileno()
        # A transport's own object for the socket may not let itself be changed.
        with socket.socket(fileno=os.dup(self._descriptor)) as same:
            for option in socket_options():
                same.setsockopt(*option)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the reply; bytes that nobody asked for end the connection."""
        reader, answer = self._reader, self._answer
        if reader is None or answer is None or answer.done():
            self.close()
            return
        try:
            reader.feed(data)
        except Malformed as error:
            self._fail(error)
            return
        self._heard = asyncio.get_running_loop().time()
        self._finish(reader, answer)

    def eof_received(self) -> None:
        """Notes the end of what the server sends, which may be the end of a reply."""
        if self._reader is not None and self._answer is not None and not self._answer.done():
            try:
                self._reader.end()
            except Malformed as error:
                self._fail(error)
            else:
                self._finish(self._reader, self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the request that is under way."""
        if self._answer is not None and not self._answer.done():
            self._fail(exc or ConnectionResetError("the connection was closed"))
        self._transport = None

    def _finish(self, reader: ReplyReader, answer: asyncio.Future[Answer]) -> None:
        if reader.complete:
            self._settle()
            answer.set_result(reader.answer())


class LoopConnections:
    """Connections to one place, for operations on an event loop (`holdfast.switching`)."""

    def __init__(self, place: Place, settings: S3Settings, clock: Callable[[], float]) -> None:
        """Opens none yet.

        Args:
            place: where they lead.
            settings: timeouts, and how many are kept.
            clock: in s, never set back.
        """
        self._place = place
        self._settings = settings
        self._clock = clock
        self._idle: dict[AbstractEventLoop, deque[tuple[LoopConnection, float]]] = {}

    def ask(self, request: Request, body: bytes) -> Answer:
        """Sends a request once, and returns its reply; for an operation on the loop.

        Raises:
            EndpointConnectionError, ConnectTimeoutError: it was never sent.
            TimeoutError: there was no reply in time.
            OSError, Malformed: the connection broke, or the reply is none.
        """
        whole = request.head(self._place.authority, len(body)) + body
        idle = self._of_this_loop()
        connection = self._kept(idle) or self._connected()
        try:
            silence, end = self._settings.read_timeout, attempt()
            answer = switching.wait(
                connection.ask(whole, request.method, silence, end, request.most)
            )
        except BaseException:
            connection.close()
            raise
        if connection.keeps and len(idle) < self._settings.max_connections:
            idle.append((connection, self._clock()))
        else:
            connection.close()
        return answer

    def _of_this_loop(self) -> deque[tuple[LoopConnection, float]]:
        loop = asyncio.get_running_loop()
        if loop not in self._idle:
            for other in [other for other in list(self._idle) if other.is_closed()]:
                self._idle.pop(other, None)
            self._idle[loop] = deque()
        return self._idle[loop]

    def _kept(self, idle: deque[tuple[LoopConnection, float]]) -> LoopConnection | None:
        while idle:
            connection, since = idle.pop()
            if self._clock() - since <= KEPT and connection.usable:
                return connection
            connection.close()
        return None

    def _connected(self) -> LoopConnection:
        place, loop = self._place, asyncio.get_running_loop()
        connecting = loop.create_connection(
            LoopConnection, place.host, place.port or PORTS[place.scheme], ssl=place.trust
        )
        try:
            _, connection = switching.wait(
                begin(asyncio.wait_for(connecting, patience(self._settings.connect_timeout)))
            )
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=place.host, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=place.host, error=error) from error
        return connection

    def close(self) -> None:
        """Closes idle connections, from any thread; operations may continue with theirs."""
        for loop, idle in list(self._idle.items()):
            with suppress(RuntimeError):  # the loop is closed, and its connections with it
                loop.call_soon_threadsafe(_close, idle)


def _close(idle: deque[tuple[LoopConnection, float]]) -> None:
    while idle:
        idle.pop()[0].close()
