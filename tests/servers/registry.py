"""An image registry on loopback that counts what it serves.

Source: the OCI distribution specification 1.1: the requests of containerd's resolver.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.process import START_TIMEOUT

CHUNK = 64 * 1024
_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<name>[^/]+/?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest or a blob."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        """The body's digest."""
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"


@dataclass
class Registry:
    """The content of a registry, and what was fetched from it.

    Attributes:
        port: on 127.0.0.1.
        blobs: by digest, including manifests.
        tags: the digest behind `<repository>:<tag>`.
        asked: the number of requests, by digest.
        served: bytes of the bodies sent, by digest.
    """

    port: int = 0
    blobs: dict[str, Stored] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    rate: float = 0
    """Bytes per s that it sends to all clients together; 0: as fast as it can."""
    _free_at: float = 0
    _gates: dict[str, Gate] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, repository: str, tag: str, root: str, blobs: Mapping[str, Stored]) -> str:
        """Adds an image; returns the reference by which it is pulled."""
        self.blobs.update(blobs)
        self.tags[f"{repository}:{tag}"] = root
        return f"127.0.0.1:{self.port}/{repository}:{tag}"

    def gate(self, digest: str, after: int) -> Gate:
        """Stops everyone who fetches a blob after so many bytes, until the gate is opened."""
        gate = self._gates[digest] = Gate(after)
        return gate

    def find(self, repository: str, name: str) -> Stored | None:
        """What a tag or a digest names."""
        return self.blobs.get(self.tags.get(f"{repository}:{name}", name))

    def note(self, digest: str) -> None:
        """Counts a request."""
        with self._lock:
            self.asked[digest] += 1

    def take(self, body: bytes, media_type: str = "application/octet-stream") -> Stored:
        """Stores what was pushed."""
        stored = Stored(media_type, body)
        self.blobs[stored.digest] = stored
        return stored

    def pieces(self, digest: str, body: bytes, start: int) -> Iterator[bytes]:
        """Yields a body from an offset on, and counts the bytes."""
        gate = self._gates.get(digest)
        for offset in range(start, len(body), CHUNK):
            if gate and offset >= gate.after:
                gate.reached.set()
                gate.opened.wait(START_TIMEOUT)
            piece = body[offset : offset + CHUNK]
            with self._lock:
                self.served[digest] += len(piece)
            self._pace(len(piece))
            yield piece

    def _pace(self, size: int) -> None:
        """Waits until the line has room for so many bytes more."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + size / self.rate
        time.sleep(begin - now)


@dataclass(frozen=True)
class Gate:
    """Holds back the rest of a blob."""

    after: int
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, registry: Registry, *arguments: Any) -> None:
        self.registry = registry
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v2/":
            self._answer(HTTPStatus.OK)
            return
        found = _PATH.fullmatch(path)
        stored = self.registry.find(found["repository"], found["name"]) if found else None
        if stored is None:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        self.registry.note(stored.digest)
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        size = len(stored.body)
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": stored.digest}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
        self._answer(status, headers, size - start)
        if self.command == "GET":
            try:
                for piece in self.registry.pieces(stored.digest, stored.body, start):
                    self.wfile.write(piece)
            except OSError:
                self.close_connection = True  # the node closed the connection

    do_HEAD = do_GET  # noqa: N815 -- the name that http.server calls

    def do_POST(self) -> None:
        self._body()
        self._answer(HTTPStatus.ACCEPTED, {"Location": urlsplit(self.path).path + "upload"})

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        found = _PATH.fullmatch(parts.path)
        body = self._body()
        if found and found["kind"] == "manifests":
            stored = self.registry.take(body, self.headers["Content-Type"])
            self.registry.tags[f"{found['repository']}:{found['name']}"] = stored.digest
        else:
            stored = self.registry.take(body)
            if [stored.digest] != parse_qs(parts.query).get("digest"):
                self._answer(HTTPStatus.BAD_REQUEST)
                return
        self._answer(HTTPStatus.CREATED, {"Docker-Content-Digest": stored.digest})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(
        self, status: HTTPStatus, headers: Mapping[str, str] | None = None, length: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def registry_server() -> Iterator[Registry]:
    """A registry, in threads of this process."""
    registry = Registry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, registry))
    server.daemon_threads = True
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
