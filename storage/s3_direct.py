"""Requests for objects and parts, without boto3's layers around them.

Two thirds of the CPU time of a small request are spent in botocore's layers between the call and
the socket. Here the request is built and signed by hand, and sent once: through the standard
library's HTTP client in a thread, through one of our own on the event loop. If the answer is
anything but plain, the request is left to boto3, which handles redirects, skewed clocks, refreshed
credentials and retries. So this code must be right only for the cases in which all goes well.

Source: "Signature Version 4" and "Common request headers", Amazon S3 API reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Final
from urllib.parse import quote, urlencode

import boto3
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.utils import get_environ_proxies

from holdfast import switching
from holdfast.storage.port import LARGEST_WHOLE, Body
from holdfast.storage.s3_blocking import BlockingConnections
from holdfast.storage.s3_circuit import Circuit
from holdfast.storage.s3_looped import SMALL, LoopConnections
from holdfast.storage.s3_operations import Observer, operation_of
from holdfast.storage.s3_place import Place
from holdfast.storage.s3_replies import Answer, Malformed, Request
from holdfast.storage.s3_settings import S3Settings
from holdfast.storage.s3_signature import Signer

NOTHING: Final[Mapping[str, str]] = {}


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
        *,
        time: Callable[[], float],
        observer: Observer,
    ) -> None:
        """Opens no connection yet.

        Args:
            session: has the credentials.
            settings: where the bucket is.
            circuit: what each request must pass.
            clock: in s, never set back.
            time: at which requests are signed, in s since 1970.
            observer: counts requests.
        """
        self._circuit = circuit
        self._time = time
        self._observer = observer
        self._credentials = session.get_credentials()
        self._place = place = Place.of(session, settings)
        self._signer = Signer(place.authority, settings.region)
        self._blocking = BlockingConnections(place, settings, clock)
        self._looped = LoopConnections(place, settings, clock)
        self.usable = self._credentials is not None and not get_environ_proxies(place.origin)

    def send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        body: Body = b"",
        query: Mapping[str, str] = NOTHING,
        *,
        most: int | None = LARGEST_WHOLE,
    ) -> Answer:
        """Sends one request and returns its reply, whatever the status.

        Of a body that has more than `most` bytes, none or some are returned; None: all.

        Raises:
            NotSent: its deadline has passed, or the store is known not to answer.
            EndpointConnectionError, ConnectTimeoutError: it was never sent.
            HTTPClientError: the connection broke; the request may have taken effect.
            BotoCoreError, ClientError: there are no credentials; it was never sent.
        """
        target = self._place.path + quote(key, safe="/~")
        if query:
            target += f"?{urlencode(query, quote_via=quote, safe='~')}"
        signed = self._signer.signed(method, target, headers, self._frozen(), self._time())
        began = self._circuit.enter()
        try:
            answer = self._ask(Request(method, target, signed, most), body)
        except BotoCoreError as error:
            self._observer.ended(operation_of(method, query), None, began)
            self._circuit.failed(began, error)
            raise
        self._observer.ended(operation_of(method, query), answer.status, began)
        self._circuit.answered()
        return answer

    def _ask(self, request: Request, body: Body) -> Answer:
        host = self._place.host
        try:
            if switching.current() and isinstance(body, bytes) and len(body) <= SMALL:
                return self._looped.ask(request, body)
            return switching.apart(self._blocking.ask, request, body)
        except BotoCoreError:
            raise  # some of them are OSErrors, too
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=host, error=error) from error
        except (OSError, HTTPException, Malformed) as error:
            raise ConnectionClosedError(endpoint_url=host, error=error) from error

    def _frozen(self) -> ReadOnlyCredentials:
        """The credentials of now; new ones may have to be fetched, which can take long."""
        credentials = self._credentials
        if credentials is None:
            raise NoCredentialsError
        if isinstance(credentials, RefreshableCredentials) and credentials.refresh_needed():
            return switching.apart(credentials.get_frozen_credentials)
        return credentials.get_frozen_credentials()

    def close(self) -> None:
        """Closes idle connections; others may continue with theirs."""
        self._blocking.close()
        self._looped.close()
