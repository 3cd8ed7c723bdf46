"""An HTTPS server that stands in for Kubernetes' API server, as a pod finds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.servers.certificate import self_signed

TOKEN: Final = "a-token"
"""The token of the pod's account."""
UNAUTHORIZED: Final = (401, b'{"message":"Unauthorized"}')
"""The answer to another token."""
Reply = Callable[[str, Message, bytes], tuple[int, bytes]]
"""Answers a request: its path, its headers and its body become a status and a body."""


@contextmanager
def api_server(folder: Path, reply: Reply) -> Iterator[dict[str, str]]:
    """Serves on loopback; yields the variables by which a pod finds the server.

    Args:
        folder: where the token and the authority go that a pod has.
        reply: answers requests with the right token.
    """
    (folder / "token").write_text(f"{TOKEN}\n")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, said = reply(self.path, self.headers, body) if known else UNAUTHORIZED
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_PUT = do_GET  # noqa: N815 -- http.server's name

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        listening.socket = self_signed(folder).wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield {
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT_HTTPS": str(listening.server_address[1]),
            }
        finally:
            listening.shutdown()
            thread.join()
