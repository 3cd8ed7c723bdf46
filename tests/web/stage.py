"""An HTTP port in this process, and clients that ask it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.service.process.metrics import Metrics
from holdfast.service.trust.audit import AuditLog
from holdfast.service.web.app import Site
from holdfast.service.web.debug import Debug, Inspect
from holdfast.service.web.main_loop import MainLoop
from holdfast.service.web.page import Page
from holdfast.service.web.port import HttpPort, http_port
from holdfast.service.web.readiness import Readiness, Stage

PERIOD = 0.02
"""Seconds between two looks at files."""


@dataclass
class Clock:
    """A time that stands still until a test moves it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: str
    headers: Mapping[str, str]


@dataclass
class Opened:
    """A port, and what it shows.

    Attributes:
        port: the port.
        site: what it shows.
        readiness: decides about /readyz.
        clock: of clients' deadlines.
        beat: the clock of the loop that serves RPCs.
        metrics: the figures.
        lines: of the audit log.
        path: of the unix socket; "" if there is none.
        tls: how clients connect.
    """

    port: HttpPort
    site: Site
    readiness: Readiness
    clock: Clock
    beat: Clock
    metrics: Metrics
    lines: list[dict[str, Any]] = field(default_factory=list)
    path: str = ""
    tls: ssl.SSLContext | None = None

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Asks, and blocks this thread until there is an answer."""
        return self.asked_over(self.connection(), path, method, **headers)

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Asks without blocking the loop."""
        return await asyncio.to_thread(self.ask, path, method, **headers)

    def asked_over(
        self, connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
    ) -> Answer:
        """Asks over a connection, and closes it; underscores in names are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(connection):
            connection.request(method, path, headers=named)
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, reply.read().decode(), found)

    def connection(self, host: str = "127.0.0.1") -> http.client.HTTPConnection:
        """A new connection, which isn't made yet."""
        if self.path:
            return _OverUnix(self.path)
        if self.tls is not None:
            return http.client.HTTPSConnection(host, self.port.port, context=self.tls, timeout=20)
        return http.client.HTTPConnection(host, self.port.port, timeout=20)

    def socket(self) -> socket.socket:
        """A new connection, without a word said."""
        return socket.create_connection(("127.0.0.1", self.port.port), 20)


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@asynccontextmanager
async def opened(
    url: str = "127.0.0.1:0",
    *,
    identities: str = "",
    inspections: Mapping[str, Inspect] | None = None,
    readiness: Callable[[Clock], Readiness] = lambda clock: Readiness((), clock),
    page: Callable[[MainLoop], Page] | None = None,
) -> AsyncIterator[Opened]:
    """Opens a port whose process serves."""
    clock, metrics = Clock(), Metrics()
    lines: list[dict[str, Any]] = []
    audit = AuditLog(lambda line: lines.append(json.loads(line)), lambda: 0.0, clock)
    beat = Clock()
    loop, ready = MainLoop(beat), readiness(clock)
    ready.stage = Stage.SERVING
    site = Site(loop, ready, metrics.exposed, Debug(loop, inspections or {}), page and page(loop))
    async with http_port(
        url,
        site,
        metrics=metrics,
        audit=audit,
        identities=identities,
        clock=clock,
        period=PERIOD,
    ) as port:
        path = url.removeprefix("unix://").split("?")[0] if url.startswith("unix") else ""
        yield Opened(port, site, ready, clock, beat, metrics, lines, path)


def written(folder: Path, name: str, text: str) -> str:
    """Writes a file; returns its path."""
    (folder / name).write_text(text)
    return str(folder / name)
