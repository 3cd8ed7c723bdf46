"""Connections to S3 that threads block on, by the standard library's HTTP client."""

from __future__ import annotations

import http.client
import select
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from holdfast.storage.port import Body, Buffer, pieces
from holdfast.storage.s3_circuit import patience
from holdfast.storage.s3_idle import KEPT, socket_options
from holdfast.storage.s3_place import Place
from holdfast.storage.s3_replies import Answer, Malformed, Request
from holdfast.storage.s3_settings import S3Settings
from holdfast.storage.s3_sockets import OnTimedSocket

PIECE: Final = 256 * 1024
"""Bytes given to a socket at once: its timeout applies to each such piece, not to a whole part."""
_UNASKED: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class BlockingConnections:
    """Connections to one place. Safe for many threads."""

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
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()

    def ask(self, request: Request, body: Body) -> Answer:
        """Sends a request once, and returns its reply.

        Raises:
            EndpointConnectionError, ConnectTimeoutError: it was never sent.
            TimeoutError: there was no reply in time.
            OSError, HTTPException, Malformed: the connection broke, or the reply is none.
        """
        content, headers = _content(body), dict(request.headers)
        if content and not isinstance(content, bytes):
            headers["Content-Length"] = str(sum(map(len, pieces(body))))
        connection = self._connection()
        try:
            connection.request(request.method, request.target, body=content, headers=headers)
            reply = connection.getresponse()
            received = received_of(reply, request.most)
            _refuse_interim(reply.status)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, reply)
        fields = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, fields, received)

    def _connection(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return self._connected()
            if self._clock() - since <= KEPT and not _stale(connection):
                connection.sock.settimeout(self._settings.read_timeout)
                return connection
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        settings, place = self._settings, self._place
        connection: http.client.HTTPConnection
        timeout = patience(settings.connect_timeout)
        if place.trust is not None:
            connection = _SecureConnection(
                place.host, place.port, timeout=timeout, context=place.trust
            )
        else:
            connection = _Connection(place.host, place.port, timeout=timeout)
        try:
            connection.connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=place.host, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=place.host, error=error) from error
        connection.sock.settimeout(settings.read_timeout)
        for option in socket_options():
            connection.sock.setsockopt(*option)
        return connection

    def _give_back(
        self, connection: http.client.HTTPConnection, reply: http.client.HTTPResponse
    ) -> None:
        if reply.will_close or len(self._idle) >= self._settings.max_connections:
            connection.close()
        else:
            self._idle.append((connection, self._clock()))

    def close(self) -> None:
        """Closes idle connections; other threads may continue with theirs."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].close()


class _Connection(OnTimedSocket, http.client.HTTPConnection):
    """A connection of the standard library's."""


class _SecureConnection(OnTimedSocket, http.client.HTTPSConnection):
    """One over TLS."""


def received_of(reply: http.client.HTTPResponse, most: int | None) -> bytes:
    """Returns the body of a reply; of one with more than `most` bytes, none or some."""
    if most is None:
        return reply.read()
    if reply.length is None:  # it has chunks, or ends with the connection
        found = reply.read(most + 1)
        if len(found) <= most:
            return found + reply.read()  # the end of the last chunk
    elif reply.length <= most:
        return reply.read()
    else:
        found = b""
    reply.will_close = True
    return found


def _refuse_interim(status: int) -> None:
    """Refuses an interim reply, which http.client mistakes for the final one.

    The final one is still to come, and the connection's next request would get it instead.
    """
    if status < HTTPStatus.OK:
        raise Malformed(f"status {status} is interim")


def _content(body: Body) -> bytes | Iterator[Buffer] | None:
    """A body as http.client needs it: a small one goes with the headers, a large one in pieces."""
    if isinstance(body, bytes) and len(body) <= PIECE:
        return body or None
    whole = (memoryview(piece) for piece in pieces(body))
    return (view[at : at + PIECE] for view in whole for at in range(0, len(view), PIECE))


def unasked(descriptor: int) -> bool:
    """Whether the server has closed an idle connection, or sent bytes that nobody asked for."""
    poll = select.poll()
    poll.register(descriptor, _UNASKED)
    return bool(poll.poll(0))


def _stale(connection: http.client.HTTPConnection) -> bool:
    return connection.sock is None or unasked(connection.sock.fileno())
