"""The HTTP side door: /livez, /readyz and /metrics, for probes and Prometheus."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.exposition import ThreadingWSGIServer

from holdfast.errors import ConfigurationError, because

TEXT: Final = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class _Quiet(WSGIRequestHandler):
    """Logs nothing: a line for each probe would be noise."""

    timeout = 10

    def log_message(self, *_: object) -> None:
        """Drops the line."""


class _OverIPv6(ThreadingWSGIServer):
    """The same server on IPv6."""

    address_family = socket.AF_INET6


class SideDoor:
    """A small HTTP server in a thread of its own."""

    def __init__(
        self, address: str, ready: Callable[[], bool], metrics: Callable[[], bytes]
    ) -> None:
        """Begins to listen.

        Args:
            address: `host:port` or `[host]:port`; port 0 means any free port.
            ready: returns whether new requests are accepted.
            metrics: returns the figures, in Prometheus's text format.

        Raises:
            ConfigurationError: the address is malformed, or the port is in use.
        """
        host, _, port = address.rpartition(":")
        server = _OverIPv6 if ":" in host else ThreadingWSGIServer
        self._ready = ready
        self._metrics = metrics
        try:
            self._server = make_server(host.strip("[]"), int(port), self._answer, server, _Quiet)
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigurationError(
                f"HOLDFAST_HTTP={address!r}: can't listen there ({because(error)})"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/livez" or (path == "/readyz" and self._ready()):
            status, body = "200 OK", b"ok\n"
        elif path == "/readyz":
            status, body = "503 Service Unavailable", b"draining\n"
        elif path == "/metrics":
            status, body = "200 OK", self._metrics()
        else:
            status, body = "404 Not Found", b"try /livez, /readyz or /metrics\n"
        start_response(status, list(TEXT))  # wsgiref appends to the list that it gets
        return [body]

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
