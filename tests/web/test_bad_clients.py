"""The HTTP port: clients that are silent, slow, many or rude cost others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from holdfast.overview import Overview
from holdfast.service.web import main_loop
from holdfast.service.web.connection import ANSWER, HEAD, KEPT
from holdfast.service.web.page import Page
from holdfast.service.web.visitors import MOST
from tests.service.fleet import eventually
from tests.web.fleets import fleet, hour
from tests.web.stage import Opened, opened

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE = 60.0
"""Seconds that an answer may take on a busy machine."""
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def ended(client: socket.socket) -> bool:
    """Whether the port ends a connection; it has `PATIENCE`."""
    client.settimeout(PATIENCE)
    try:
        while await asyncio.to_thread(client.recv, 4096):
            pass
    except ConnectionError:
        return True
    return True


async def answered(client: socket.socket, until: bytes = b"\nok\n", times: int = 1) -> bytes:
    """What comes, up to some bytes that end it; they may come in two pieces."""
    client.settimeout(PATIENCE)
    received = b""
    while received.count(until) < times:
        found = await asyncio.to_thread(client.recv, 4096)
        assert found, received
        received += found
    return received


@pytest.fixture
def _patient_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page waits for its answer for as long as the test takes to fill all places."""
    monkeypatch.setattr(main_loop, "LONG_PATIENCE", 600.0)


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_descriptors")
async def test_a_thousand_silent_connections() -> None:
    """Behind a thousand connections that say nothing, a probe is answered as ever."""
    async with opened() as port:
        with ExitStack() as stack:
            silent = [stack.enter_context(port.socket()) for _ in range(1000)]
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await port.get(path)).status == 200
            # Those that came first have made room.
            assert await ended(silent[0])
            assert await ended(silent[999 - MOST - 3])


async def test_one_that_asks_keeps_its_place() -> None:
    """A connection makes room by how long it has been silent, not by how long it has been there."""
    async with opened() as port:
        with port.socket() as scraper, ExitStack() as stack:
            for _ in range(MOST - 2):
                stack.enter_context(port.socket())
            assert (await port.get("/livez")).status == 200
            port.clock.now += 1
            scraper.sendall(GET)
            assert (await answered(scraper)).startswith(b"HTTP/1.1 200")
            for _ in range(MOST - 2):
                stack.enter_context(port.socket())
            assert (await port.get("/livez")).status == 200
            scraper.sendall(GET)
            assert (await answered(scraper)).startswith(b"HTTP/1.1 200")


async def test_those_who_ask_without_end() -> None:
    """Clients that fill all places with requests, and read no answer, keep no probe away."""
    async with opened() as port:
        with ExitStack() as stack:
            for _ in range(MOST):
                stack.enter_context(port.socket()).sendall(METRICS * 200)
            await eventually(lambda: port.port.connections == MOST)
            for _ in range(3):
                assert (await port.get("/livez")).status == 200


@pytest.mark.usefixtures("_patient_page")
async def test_who_makes_room_first() -> None:
    """Those who don't wait for answers leave before one that waits, and one that has just come."""
    held, asked = asyncio.Event(), asyncio.Event()

    async def current() -> Overview:
        asked.set()
        await held.wait()
        return fleet(1)

    async with opened(page=lambda loop: Page(loop, current, hour())) as port:
        with ExitStack() as stack:
            operator = stack.enter_context(port.socket())
            operator.sendall(GET.replace(b"/livez", b"/"))
            await asked.wait()
            port.clock.now += 1
            for _ in range(MOST - 2):
                stack.enter_context(port.socket()).sendall(METRICS * 200)
            await eventually(lambda: port.port.connections == MOST - 1)
            port.clock.now += 1
            fresh = stack.enter_context(port.socket())
            await eventually(lambda: port.port.connections == MOST)
            for _ in range(5):
                assert (await port.get("/livez")).status == 200
            fresh.sendall(GET)
            assert (await answered(fresh)).startswith(b"HTTP/1.1 200")
            held.set()
            assert (await answered(operator, b"</html>")).startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("_patient_page")
async def test_all_places_taken_by_those_who_wait() -> None:
    """If all clients wait for answers, the one that came first makes room for a probe."""
    held, asked = asyncio.Event(), 0

    async def current() -> Overview:
        nonlocal asked
        asked += 1
        await held.wait()
        return fleet(1)

    async with opened(page=lambda loop: Page(loop, current, hour())) as port:
        with ExitStack() as stack:
            waiting = [stack.enter_context(port.socket()) for _ in range(MOST)]
            for one in waiting:
                one.sendall(GET.replace(b"/livez", b"/"))
                port.clock.now += 0.001
            await eventually(lambda: asked == MOST)
            assert (await port.get("/livez")).status == 200
            assert await ended(waiting[0])
            held.set()
            assert (await answered(waiting[-1], b"</html>")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("said", "patience"), [(b"", HEAD), (b"GET", HEAD), (GET[:-2], HEAD), (GET + b"GET /", KEPT)]
)
async def test_silence(said: bytes, patience: float) -> None:
    """Whoever doesn't finish a request is cut off after some seconds."""
    async with opened() as port:
        with port.socket() as client:
            client.sendall(said)
            if said.startswith(GET):
                assert await answered(client)
            assert (await port.get("/livez")).status == 200
            port.clock.now += patience
            assert await ended(client)


async def test_a_byte_from_time_to_time() -> None:
    """Bytes that trickle in don't prolong the time that a request's head has."""
    async with opened() as port:
        with port.socket() as client:
            for byte in GET[:8]:
                client.sendall(bytes([byte]))
                assert (await port.get("/livez")).status == 200
                port.clock.now += HEAD / 8
            assert await ended(client)


async def test_a_second_request_that_is_slow() -> None:
    """On a kept connection, a request that has begun must come as quickly as the first."""
    async with opened() as port:
        with port.socket() as client:
            client.sendall(GET)
            assert (await answered(client)).startswith(b"HTTP/1.1 200")
            assert (await port.get("/livez")).status == 200
            client.sendall(b"GET")
            assert (await port.get("/livez")).status == 200
            port.clock.now += HEAD
            assert await ended(client)


async def test_a_connection_is_kept() -> None:
    """A scraper may use its connection again after a minute less a second, and no later."""
    async with opened() as port:
        with port.socket() as client:
            for pause in (0, KEPT - 1, 0):
                port.clock.now += pause
                client.sendall(GET)
                assert (await answered(client)).startswith(b"HTTP/1.1 200")
                assert (await port.get("/livez")).status == 200
            port.clock.now += KEPT
            assert await ended(client)


async def test_whoever_does_not_read() -> None:
    """A client that doesn't take its answer is cut off."""
    async with opened(inspections={"much": lambda: "x" * 2**24}) as port:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with client:
            client.connect(("127.0.0.1", port.port.port))
            client.sendall(GET.replace(b"/livez", b"/debug/much"))
            client.settimeout(PATIENCE)
            await asyncio.to_thread(client.recv, 1, socket.MSG_PEEK)
            assert (await port.get("/livez")).status == 200
            port.clock.now += max(ANSWER, KEPT)
            await eventually(lambda: port.port.connections == 0)
            received = await asyncio.to_thread(_all, client)
    assert received < 2**24


def _all(client: socket.socket) -> int:
    received = 0
    with contextlib.suppress(ConnectionError):
        while found := client.recv(2**16):
            received += len(found)
    return received


async def test_pipelined_requests() -> None:
    """Requests that are sent at once are answered one after the other."""
    async with opened() as port:
        with port.socket() as client:
            client.sendall(GET * 20)
            client.shutdown(socket.SHUT_WR)
            assert (await answered(client, times=20)).count(b"HTTP/1.1 200") == 20
            assert await ended(client)


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_a_large_body(request_line: bytes) -> None:
    """A request with a large body is refused before it comes, and its connection ends."""
    async with opened() as port:
        with port.socket() as client:
            client.sendall(request_line)
            assert (await answered(client, b"large")).startswith(b"HTTP/1.1 413")
            assert await ended(client)


async def test_a_large_head() -> None:
    """A head without end isn't kept."""
    async with opened() as port:
        with port.socket() as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2**17)
            assert (await answered(client, b"request")).startswith(b"HTTP/1.1 400")
            assert await ended(client)


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_another_protocol(said: bytes) -> None:
    """A client that speaks TLS or HTTP/2 to a plain port is refused, and nothing is logged."""
    async with opened() as port:
        with port.socket() as client:
            client.sendall(said + b"\r\n\r\n")
            assert (await answered(client, b"\r\n")).startswith(b"HTTP/1.1 4")
        assert (await port.get("/livez")).status == 200


async def test_a_body_that_is_no_http() -> None:
    """A body that isn't what its head says is refused, and costs no lines of the log."""
    rude = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    async with opened() as port:
        with capture_logs() as said, port.socket() as client:
            client.sendall(rude)
            assert (await answered(client, b"request")).startswith(b"HTTP/1.1 400")
            assert await ended(client)
            assert (await port.get("/livez")).status == 200
    assert not [line for line in said if line["log_level"] in ("warning", "error")]


def left(port: Opened) -> socket.socket:
    """A client that asks and leaves at once."""
    client = port.socket()
    client.sendall(GET.replace(b"/livez", b"/metrics"))
    return client


async def test_clients_that_leave() -> None:
    """Clients that ask and leave without the answer harm nobody."""
    async with opened() as port:
        for _ in range(50):
            left(port).close()
        assert (await port.get("/livez")).status == 200
