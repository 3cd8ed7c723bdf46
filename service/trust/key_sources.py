"""Reads what the file or the URL of an issuer's keys has, bounded in size and in time."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from holdfast.errors import ConfigurationError, Unavailable, because
from holdfast.service.trust.token_issuers import TokenIssuer

LARGEST: Final = 256 * 2**10
"""The most bytes of a file or an answer: hundreds of keys."""
PATIENCE: Final = 5.0
"""Seconds that a URL has to be connected to, and then to answer in all, below the time that a call
may take."""


def contents(issuer: TokenIssuer, patience: float = PATIENCE) -> bytes:
    """Returns what the file or the URL of an issuer's keys has; it blocks.

    Args:
        issuer: says where.
        patience: seconds that a URL has to be connected to, and then to answer in all.

    Raises:
        ConfigurationError: the file can't be read, or is too large.
        Unavailable: the URL can't be reached, answers too late, with an error, or with too much.
    """
    if not issuer.remote:
        try:
            with Path(issuer.keys).open("rb") as file:
                return _bounded(file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"keys {issuer.keys}: {because(error)}") from error
    try:
        return _fetched(issuer, patience)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"keys {issuer.keys}: {because(error)}") from error


def _bounded(file: IO[bytes]) -> bytes:
    found = file.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    return found


def _fetched(issuer: TokenIssuer, patience: float) -> bytes:
    """Asks the URL itself: no proxy, and no redirect, which might lead elsewhere."""
    connection = _connection(issuer, patience)
    parts = urlsplit(issuer.keys)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.connect()
        with _ending(connection.sock, patience):
            connection.request("GET", path, headers=_headers(issuer))
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise ValueError(f"it answers with {answer.status} {answer.reason}")
            return _bounded(answer)
    finally:
        connection.close()


def _connection(issuer: TokenIssuer, patience: float) -> http.client.HTTPConnection:
    parts = urlsplit(issuer.keys)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=issuer.ca or None)
        return http.client.HTTPSConnection(host, parts.port, timeout=patience, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=patience)


@contextmanager
def _ending(connected: socket.socket, patience: float) -> Iterator[None]:
    """Ends a connection after a time, whatever it is waiting for.

    A socket's own timeout begins anew with each byte.

    Raises:
        TimeoutError: the time was over before the body.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError):  # the other end may have closed it
            socket.socket.shutdown(connected, socket.SHUT_RDWR)  # TLS is in use by another thread

    timer = threading.Timer(patience, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if late.is_set():
            raise TimeoutError(f"it hasn't answered within {patience:g} s")


def _headers(issuer: TokenIssuer) -> dict[str, str]:
    headers = {"Accept": "application/jwk-set+json, application/json", "Connection": "close"}
    if issuer.bearer:
        token = Path(issuer.bearer).read_text("ascii").strip()
        headers["Authorization"] = f"Bearer {token}"
    return headers
