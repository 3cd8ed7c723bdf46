"""An image registry on loopback that counts what it serves.

Source: the OCI distribution specification 1.1: the requests of containerd's resolver.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from tests.servers.process import START_TIMEOUT

CHUNK = 64 * 1024
_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<name>[^/]+/?)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Blob(Protocol):
    """A manifest or a blob, in memory or made as it is read."""

    @property
    def media_type(self) -> str:
        """What it is."""
        ...

    @property
    def digest(self) -> str:
        """The digest of its bytes."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Its bytes from one offset to another."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest or a blob, in memory."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        """The body's digest."""
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of the body."""
        return self.body[start:stop]


@dataclass
class Registry:
    """The content of a registry, and what was fetched from it.

    Attributes:
        port: on its address.
        address: an IPv4 address.
        blobs: by digest, including manifests.
        tags: the digest behind `<repository>:<tag>`.
        asked: the number of requests, by digest.
        served: bytes of the bodies sent, by digest.
    """

    port: int = 0
    address: str = "127.0.0.1"
    blobs: dict[str, Blob] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    rate: float = 0
    """Bytes per s that it sends to all clients together; 0: as fast as it can."""
    _free_at: float = 0
    _gates: dict[str, Gate] = field(default_factory=dict)
    _valves: dict[str, Valve] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, repository: str, tag: str, root: str, blobs: Mapping[str, Blob]) -> str:
        """Adds an image; returns the reference by which it is pulled."""
        self.blobs.update(blobs)
        self.tags[f"{repository}:{tag}"] = root
        return f"{self.address}:{self.port}/{repository}:{tag}"

    def gate(self, digest: str, after: int) -> Gate:
        """Stops everyone who fetches a blob after so many bytes, until the gate is opened."""
        gate = self._gates[digest] = Gate(after)
        return gate

    def valve(self, digests: Iterable[str]) -> Valve:
        """Stops everyone who fetches one of some blobs, until the valve lets bytes through."""
        valve = Valve()
        self._valves.update(dict.fromkeys(digests, valve))
        return valve

    def find(self, repository: str, name: str) -> Blob | None:
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

    def pieces(self, digest: str, blob: Blob, start: int) -> Iterator[bytes]:
        """Yields a blob's bytes from an offset on, and counts them."""
        gate, valve = self._gates.get(digest), self._valves.get(digest)
        for offset in range(start, blob.size, CHUNK):
            if gate and offset >= gate.after:
                gate.reached.set()
                gate.opened.wait(START_TIMEOUT)
            if valve:
                valve.take(min(CHUNK, blob.size - offset))
            piece = blob.read(offset, offset + CHUNK)
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


class Valve:
    """Lets so many bytes of some blobs through in all, and more when it is told to."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed = 0
        self._taken = 0

    def allow(self, total: int) -> None:
        """Lets bytes through until there have been so many in all."""
        with self._changed:
            self._allowed = total
            self._changed.notify_all()

    def drained(self, timeout: float) -> None:
        """Waits until all that it may let through has been asked for.

        Raises:
            AssertionError: it isn't within `timeout` seconds.
        """
        with self._changed:
            asked = self._changed.wait_for(lambda: self._taken >= self._allowed, timeout)
        assert asked, f"{self._taken} of {self._allowed} bytes were asked for"

    def take(self, size: int) -> None:
        """Waits until so many bytes more may go; lets them go if that takes too long."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._allowed, START_TIMEOUT)
            self._taken += size
            self._changed.notify_all()


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
        digest, size = stored.digest, stored.size
        self.registry.note(digest)
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": digest}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
        self._answer(status, headers, size - start)
        if self.command == "GET":
            try:
                for piece in self.registry.pieces(digest, stored, start):
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
def registry_server(listener: socket.socket | None = None) -> Iterator[Registry]:
    """A registry, in threads of this process.

    Args:
        listener: a bound socket, which may be of another network; by default one on loopback.
    """
    bound = listener or socket.create_server(("127.0.0.1", 0))
    registry = Registry()
    registry.address, registry.port = bound.getsockname()
    server = ThreadingHTTPServer(
        (registry.address, registry.port), partial(_Handler, registry), bind_and_activate=False
    )
    server.socket.close()
    server.socket = bound
    server.server_activate()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
