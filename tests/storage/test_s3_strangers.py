"""What a proxy answers in S3's place is named, and is never taken for an answer of S3's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from holdfast.errors import OutcomeUnknown, Unavailable
from storage.port import IfAbsent, ObjectStore
from storage.s3 import S3Settings, S3Store

PAGE = b"<html><body>Please log in.</body></html>"


class LoginPage(BaseHTTPRequestHandler):
    """Answers everything with 200 and a page."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(PAGE)

    do_GET = do_PUT = do_HEAD = do_POST = _answer  # noqa: N815 -- http.server's names

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """A store whose endpoint is somebody else's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server = ThreadingHTTPServer(("127.0.0.1", 0), LoginPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opened = S3Store(
        S3Settings(
            bucket="content",
            endpoint=f"http://127.0.0.1:{server.server_port}",
            region="us-east-1",
            prefix="",
            path_style=True,
            max_connections=2,
        )
    )
    yield opened
    opened.close()
    server.shutdown()
    server.server_close()


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("data/a", b"body"),
    "conditional put": lambda store: store.put("blobs/a", b"body", IfAbsent()),
    "get": lambda store: store.get("blobs/a"),
    "ranged get": lambda store: store.get("data/a", 4, 4),
    "head": lambda store: store.head("data/a"),
    "list": lambda store: list(store.list("holds/")),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_login_page(store: S3Store, call: Callable[[ObjectStore], object]) -> None:
    """A page with status 200 is no answer: not of a write, not of a read, not of a listing."""
    with pytest.raises((Unavailable, OutcomeUnknown)):
        call(store)
