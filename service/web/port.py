"""The HTTP port: a thread with a loop of its own, which answers while the loop of RPCs can't.

main thread: serves RPCs, beats ◀──asks, listens for the beat── thread `http`: serves HTTP
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from holdfast.clocks import uptime
from holdfast.errors import ConfigurationError, because
from holdfast.service.http_listener import HttpListener, Operators, parse_http
from holdfast.service.process.background import end, loop_of
from holdfast.service.process.metrics import Metrics
from holdfast.service.process.sockets import bound_sockets, free_socket
from holdfast.service.trust.audit import AuditLog
from holdfast.service.trust.identity import ClientIdentity
from holdfast.service.trust.recognition import Recognition
from holdfast.service.trust.recognizers import Recognizers
from holdfast.service.trust.rotation import PERIOD, Rotation
from holdfast.service.web.accepting import Accepting
from holdfast.service.web.app import Site, application
from holdfast.service.web.connection import HttpConnection
from holdfast.service.web.cpu_share import CpuShare
from holdfast.service.web.guard import OperatorGuard
from holdfast.service.web.visitors import Visitors
from holdfast.transport.peers import Peer

log = structlog.get_logger(__name__)

PROTOCOL: Final = "http/1.1"
"""What is spoken, by its name in TLS."""
LARGEST_HEAD: Final = 16 * 2**10
"""Bytes of a request's head, as of an RPC's."""
TICK: Final = 0.5
"""Seconds between two looks at who is late."""
FAREWELL: Final = 1.0
"""Seconds for answers under way when the port closes."""
PATIENCE: Final = 5.0
"""Seconds for all of its end: leases are released only after it."""


class HttpPort:
    """A server in a thread of its own."""

    def __init__(
        self,
        listener: HttpListener,
        app: ASGIApp,
        rotation: Rotation | None,
        keys: Recognizers,
        clock: Callable[[], float],
    ) -> None:
        """Begins to listen.

        Args:
            listener: where.
            app: answers the requests.
            rotation: the certificate; None without TLS.
            keys: the rules and keys by which operators are known; this thread keeps them.
            clock: of clients' deadlines, in s, never set back.

        Raises:
            ConfigurationError: the address can't be bound.
        """
        where = listener.listener
        try:
            if where.scheme == "unix":
                free_socket(where)
            self._sockets = bound_sockets(where)
        except ConfigurationError as error:
            raise ConfigurationError(f"HOLDFAST_HTTP: {because(error)}") from error
        self._path = where.path
        self.port = 0 if self._path else int(self._sockets[0].getsockname()[1])
        """The port that it listens on; 0 for a unix socket."""
        self._app = app
        self._rotation = rotation
        self._keys = keys
        self._clock = clock
        self._visitors: Visitors | None = None
        self._closing: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="http", daemon=True)
        self._thread.start()
        started.result()

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except Exception as error:
            if not started.done():
                started.set_exception(error)
                return
            log.exception("HTTP port failed", reason=because(error))

    async def _serve(self, started: Future[None]) -> None:
        config, state = _config(self._app), ServerState()
        config.load()
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        clock = self._clock
        share = CpuShare()
        make = partial(HttpConnection, config, state, loop, clock, share)
        self._visitors = visitors = Visitors(make, clock)
        contexts = self._rotation.contexts if self._rotation else None
        accepting = [Accepting(sock, contexts, visitors, share) for sock in self._sockets]
        loops = [loop_of("reading identities for the HTTP port", self._keys.keep())]
        if self._rotation is not None:
            loops.append(loop_of("watching a certificate", self._rotation.keep()))
        self._closing = loop, stop
        started.set_result(None)
        try:
            while not stop.is_set():
                state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
                visitors.sweep()
                await _wait(stop, TICK)
        finally:  # if this fails, too: clients are refused at once, instead of waiting in vain
            for one in accepting:
                one.close()
        if state.tasks:
            await asyncio.wait(set(state.tasks), timeout=FAREWELL)
        visitors.leave()
        await end([*loops, *state.tasks])

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._visitors or ())

    def close(self) -> None:
        """Stops listening, and ends all connections; a thread that is stuck is left behind."""
        if self._path:
            Path(self._path).unlink(missing_ok=True)
        if self._closing is not None:
            loop, stop = self._closing
            with suppress(RuntimeError):  # the loop has failed, and is closed
                loop.call_soon_threadsafe(stop.set)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            log.warning("HTTP port still open; it is left behind", seconds=PATIENCE)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _config(app: ASGIApp) -> Config:
    """Returns uvicorn's configuration: no log of its own, no trust in any header."""
    return Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_keep_alive=3600,  # connections have their own deadlines
    )


@asynccontextmanager
async def http_port(
    url: str,
    site: Site,
    *,
    metrics: Metrics,
    audit: AuditLog,
    identities: str,
    clock: Callable[[], float] = uptime,
    period: float = PERIOD,
) -> AsyncIterator[HttpPort]:
    """Opens the HTTP port, and closes it at the end.

    Args:
        url: where it listens, and who an operator is.
        site: what it shows.
        metrics: shows the port's certificate.
        audit: the log of refusals, which the main loop writes.
        identities: the path of the file of rules; "" if there is none.
        clock: of clients' deadlines, in s, never set back.
        period: seconds between two looks at files.

    Raises:
        ConfigurationError: the URL, the certificate, the rules or the address can't be used.
    """
    listener = parse_http(url)

    def refused(who: ClientIdentity | None, peer: Peer, asked: str, reason: str) -> None:
        site.loop.tell(
            partial(
                audit.note,
                "refuse",
                who=who,
                peer=peer.address,
                outcome="PERMISSION_DENIED",
                rpc=asked,
                reason=reason,
            )
        )

    def opened() -> HttpPort:
        keys = Recognizers(identities, uptime, time.time, period)
        rotation = _rotation(listener, metrics, period)
        guard = OperatorGuard(listener, _recognition(listener, keys), refused)
        return HttpPort(listener, application(site, guard), rotation, keys, clock)

    beating = [
        loop_of("beating for the HTTP port", site.loop.keep()),
        loop_of("watching backends for the HTTP port", site.readiness.keep()),
    ]
    if site.page is not None:
        beating.append(loop_of("taking samples for the page", site.page.history.keep()))
    try:
        port = await asyncio.to_thread(opened)
        log.info(
            "listening for probes and metrics",
            url=listener.listener.name,
            port=port.port,
            operators=listener.operators.value,
        )
        try:
            yield port
        finally:
            site.debug.end()
            await asyncio.to_thread(port.close)
    finally:
        await end(beating)


def _recognition(listener: HttpListener, keys: Recognizers) -> Recognition | None:
    if listener.operators is not Operators.PROVEN:
        return None
    return keys.of(listener.listener.identity)


def _rotation(listener: HttpListener, metrics: Metrics, period: float) -> Rotation | None:
    where = listener.listener
    if where.tls is None:
        return None
    rotation = Rotation(where.name, where.tls, time.time, period, PROTOCOL)
    metrics.certificate(rotation)
    return rotation
