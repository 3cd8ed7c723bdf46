"""An S3 server that says what a test tells it to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from holdfast.storage.s3 import S3Settings, S3Store


@dataclass
class Reply:
    """One reply; `claimed` is what Content-Length says, if `unsized` lets it say anything."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    claimed: int | None = None
    hang_up: bool = False
    unsized: bool = False


def error(status: int, code: str, message: str = "said the server") -> Reply:
    """An S3 error with its document."""
    text = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>"
        "<RequestId>r</RequestId></Error>"
    )
    return Reply(status, text.encode())


@dataclass
class Script:
    """What is answered, in turn (the last one from then on), and what was asked."""

    endpoint: str
    replies: Sequence[Reply]
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def store(self, wall: Callable[[], float] = time.time, **settings: Any) -> S3Store:
        """A store that talks to this server, on a machine with that clock."""
        defaults: dict[str, Any] = {
            "bucket": "bucket",
            "endpoint": self.endpoint,
            "path_style": True,
            "attempts": 1,
            "longest_pause": 0.01,
        }
        chosen = S3Settings(**{**defaults, **settings})
        return S3Store(chosen, sleep=self.pauses.append, wall=wall)


@contextmanager
def scripted(*replies: Reply) -> Iterator[Script]:
    """Runs such a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 2**16  # a head and its body in one piece, or the body waits for a late ACK

        def handle_expect_100(self) -> bool:
            asked = super().handle_expect_100()
            self.wfile.flush()  # or clients wait for it for a second
            return asked

        def _answer(self) -> None:
            script.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            reply = script.replies[min(len(script.requests), len(script.replies) - 1)]
            script.requests.append((self.command, self.path))
            script.headers.append({name.lower(): value for name, value in self.headers.items()})
            if reply.hang_up:
                self.close_connection = True
                return
            if "Date" in reply.headers:
                self.send_response_only(reply.status)  # without a date of its own
            else:
                self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            length = len(reply.body) if reply.claimed is None else reply.claimed
            if not reply.unsized:
                self.send_header("Content-Length", str(length))
            if reply.claimed is not None:
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 -- its base names them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script = Script(f"http://127.0.0.1:{server.server_address[1]}", replies)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
