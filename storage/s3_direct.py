"""Requests for objects and parts, without boto3's layers around them.

Two thirds of the CPU time of a small request are spent in botocore's layers between the call and
the socket. Here the request is built by hand, signed by botocore and sent once through the
standard library's HTTP client. If the answer is anything but plain, the request is left to boto3,
which handles redirects, skewed clocks, refreshed credentials and retries. So this code must be
right only for the cases in which all goes well.

Source: "Signature Version 4" and "Common request headers", Amazon S3 API reference.
"""

from __future__ import annotations

import http.client
import select
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.httpsession import where
from botocore.parsers import create_parser
from botocore.utils import get_environ_proxies

from holdfast.storage.port import Body, Buffer, pieces
from holdfast.storage.s3_circuit import Circuit, patience
from holdfast.storage.s3_idle import KEPT, socket_options
from holdfast.storage.s3_settings import S3Settings
from holdfast.storage.s3_signing import timed

NOTHING: Final[Mapping[str, str]] = {}
PIECE: Final = 256 * 1024
"""Bytes given to a socket at once: its timeout applies to each such piece, not to a whole part."""
ERROR_LIMIT: Final = 64 * 1024
"""Bytes of an error's document that are read."""
_ANY_KEY: Final = "k"
_BODY_UNSIGNED: Final = Config(s3={"payload_signing_enabled": False})
"""As boto3 does it here: TLS protects the body, and our own sums are checked when it is read."""
_STALE: Final = select.POLLIN | select.POLLHUP | select.POLLERR


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its status, its headers with lower-case names, its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(self, operation: str) -> ClientError:
        """The exception that boto3 would have raised for it."""
        document = {
            "status_code": self.status,
            "headers": dict(self.headers),
            "body": self.body[:ERROR_LIMIT],
        }
        # A parser needs a shape only for successes.
        parsed = create_parser("rest-xml").parse(document, None)  # type: ignore[arg-type]
        return ClientError(parsed, operation)


class DirectRequests:
    """Sends requests to one bucket, each once. Safe for many threads.

    Attributes:
        usable: False if boto3 has to send everything, because a proxy is in between.
    """

    def __init__(
        self,
        session: boto3.session.Session,
        settings: S3Settings,
        circuit: Circuit,
        clock: Callable[[], float],
        time: Callable[[], float],
    ) -> None:
        """Opens no connection yet.

        Args:
            session: has the credentials.
            settings: where the bucket is.
            circuit: what each request must pass.
            clock: in s, never set back.
            time: at which requests are signed, in s since 1970.
        """
        self._settings = settings
        self._circuit = circuit
        self._clock = clock
        self._time = time
        self._session = session
        self._credentials = session.get_credentials()
        base = urlsplit(_url_of_bucket(session, settings))
        self._scheme, self._host, self._port = base.scheme, base.hostname or "", base.port
        self._netloc, self._path = base.netloc, base.path
        self._context = _trust(session) if base.scheme == "https" else None
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()
        self.usable = self._credentials is not None and not get_environ_proxies(
            f"{base.scheme}://{base.netloc}"
        )

    def send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        body: Body = b"",
        query: Mapping[str, str] = NOTHING,
    ) -> Answer:
        """Sends one request and returns its reply, whatever the status.

        Raises:
            NotSent: its deadline has passed, or the store is known not to answer.
            EndpointConnectionError, ConnectTimeoutError: it was never sent.
            HTTPClientError: the connection broke; the request may have taken effect.
            BotoCoreError, ClientError: there are no credentials; it was never sent.
        """
        target = self._path + quote(key, safe="/~")
        if query:
            target += f"?{urlencode(query, quote_via=quote, safe='~')}"
        signed = self._signed(method, target, headers)
        content = _content(body)
        if content and not isinstance(content, bytes):
            signed["Content-Length"] = str(sum(map(len, pieces(body))))
        began = self._circuit.enter()
        try:
            answer = self._ask(method, target, signed, content)
        except BotoCoreError as error:
            self._circuit.failed(began, error)
            raise
        self._circuit.answered()
        return answer

    def _ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | Iterator[Buffer] | None,
    ) -> Answer:
        connection = self._connection()
        try:
            connection.request(method, target, body=content, headers=headers)
            reply = connection.getresponse()
            received = reply.read()
            if reply.status < HTTPStatus.OK:
                # It is an interim reply, which http.client mistakes for the final one. The final
                # one is still to come, and the connection's next request would get it instead.
                raise http.client.UnknownProtocol(f"status {reply.status}")
        except TimeoutError as error:
            connection.close()
            raise ReadTimeoutError(endpoint_url=self._host, error=error) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ConnectionClosedError(endpoint_url=self._host, error=error) from error
        self._give_back(connection, reply)
        fields = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, fields, received)

    def _signed(self, method: str, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        request = AWSRequest(
            method=method, url=f"{self._scheme}://{self._netloc}{target}", headers=dict(headers)
        )
        request.context["client_config"] = _BODY_UNSIGNED
        if self._credentials is None:
            raise NoCredentialsError
        frozen = self._credentials.get_frozen_credentials()
        auth = S3SigV4Auth(frozen, "s3", self._settings.region)
        timed(auth, self._time).add_auth(request)
        return dict(request.headers.items())

    # -- connections

    def _connection(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return self._connected()
            if self._clock() - since <= KEPT and not _stale(connection):
                connection.sock.settimeout(patience(self._settings.read_timeout))
                return connection
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        settings = self._settings
        connection: http.client.HTTPConnection
        timeout = patience(settings.connect_timeout)
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=self._host, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self._host, error=error) from error
        connection.sock.settimeout(patience(settings.read_timeout))
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


def _content(body: Body) -> bytes | Iterator[Buffer] | None:
    """A body as http.client needs it: a small one goes with the headers, a large one in pieces."""
    if isinstance(body, bytes) and len(body) <= PIECE:
        return body or None
    whole = (memoryview(piece) for piece in pieces(body))
    return (view[at : at + PIECE] for view in whole for at in range(0, len(view), PIECE))


def _stale(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed an idle connection, or sent bytes that nobody asked for."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, _STALE)
    return bool(poll.poll(0))


def _url_of_bucket(session: boto3.session.Session, settings: S3Settings) -> str:
    """The URL below which the bucket's objects are, as boto3 would address them."""
    client = session.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        # The client only builds a URL: real credentials may be absent, or cost a request.
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.path_style else "auto"},
        ),
    )
    parameters = {"Bucket": settings.bucket, "Key": _ANY_KEY}
    url = client.generate_presigned_url("get_object", Params=parameters)
    client.close()
    return url.partition("?")[0].removesuffix(_ANY_KEY)


def _trust(session: boto3.session.Session) -> ssl.SSLContext:
    """The certificates that boto3 would trust."""
    bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001 -- the only way
    return ssl.create_default_context(cafile=bundle or where())
