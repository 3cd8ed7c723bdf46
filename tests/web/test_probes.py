"""The HTTP port: probes and metrics, for everybody."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError
from holdfast.service.web.readiness import DEAD, STANDING, Stage
from holdfast.service.web.scrapes import Scrapes
from holdfast.service.web.visitors import Visitors
from tests.service.fleet import eventually
from tests.web.stage import Opened, opened


async def test_alive() -> None:
    """A process whose loop moves is alive, whatever the stage of its life."""
    async with opened() as port:
        for stage in Stage:
            port.readiness.stage = stage
            found = await port.get("/livez")
            assert (found.status, found.body) == (200, "ok\n")


async def test_ready() -> None:
    """A process is ready while it serves, and says at which stage it is otherwise."""
    async with opened() as port:
        assert (await port.get("/readyz")).body == "ok\n"
        for stage in (Stage.STARTING, Stage.DRAINING):
            port.readiness.stage = stage
            found = await port.get("/readyz")
            assert (found.status, found.body) == (503, f"{stage}\n")


async def test_a_loop_that_stands_still() -> None:
    """If the loop of RPCs stands still, clients go elsewhere, and later the process is dead."""
    async with opened() as port:
        assert port.ask("/readyz").status == 200  # from here on the loop doesn't run
        port.beat.now += STANDING + 1
        found = port.ask("/readyz")
        assert found.status == 503
        assert "stands still for 11 s" in found.body
        assert port.ask("/livez").status == 200
        port.beat.now += DEAD
        assert port.ask("/livez").status == 503
        await asyncio.sleep(0.3)
        assert (await port.get("/livez")).status == 200


async def test_a_loop_that_stands_still_is_seen() -> None:
    """What blocks the loop of RPCs is in /debug/stacks, though the loop can't be asked for more."""
    async with opened(inspections={"streams": list}) as port:
        assert "test_a_loop_that_stands_still_is_seen" in port.ask("/debug/stacks").body
        assert "test_a_loop_that_stands_still_is_seen" in port.ask("/debug/tasks").body
        found = port.ask("/debug/streams")
        assert found.status == 503
        assert "/debug/stacks" in found.body


async def test_metrics() -> None:
    """The figures are in Prometheus's format."""
    async with opened() as port:
        found = await port.get("/metrics")
    assert found.status == 200
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE process_cpu_seconds_total counter" in found.body


async def test_open_metrics() -> None:
    """A scraper that asks for OpenMetrics gets it."""
    async with opened() as port:
        found = await port.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert found.headers["content-type"].startswith("application/openmetrics-text")
    assert found.body.endswith("# EOF\n")


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text; version=x", "text/plain;version=1.x", "*/*;q=x", ";,="],
)
async def test_formats_that_nobody_knows(accept: str) -> None:
    """Whatever a scraper asks for, it gets figures, and nothing is logged."""
    async with opened() as port:
        with capture_logs() as said:
            found = await port.get("/metrics", accept=accept)
    assert (found.status, said) == (200, [])


async def test_many_scrapers() -> None:
    """Figures are put together once for all who ask at the same time, and anew for the next."""
    made: list[str] = []

    def exposition(accept: str) -> tuple[bytes, str]:
        made.append(accept)
        return str(len(made)).encode(), "text/plain"

    scrapes = Scrapes(exposition)
    open_metrics = "application/openmetrics-text; version=1.0.0, */*"
    asked = ("", open_metrics, "text/plain;version=0.0.4", open_metrics, "*/*")
    found = await asyncio.gather(*map(scrapes.figures, asked))
    assert [body for body, _ in found] == [b"1", b"2", b"1", b"2", b"1"]
    assert (await scrapes.figures(""))[0] == b"3"


async def test_figures_that_fail() -> None:
    """If figures can't be put together, all who asked learn it, and the next try again."""

    def exposition(accept: str) -> tuple[bytes, str]:
        raise KeyError(accept)

    scrapes = Scrapes(exposition)
    found = await asyncio.gather(*(scrapes.figures("") for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in found] == [KeyError, KeyError]
    with pytest.raises(KeyError):
        await scrapes.figures("")


async def test_elsewhere() -> None:
    """Another path says where to look."""
    async with opened() as port:
        found = await port.get("/else")
    assert found.status == 404
    assert "/metrics" in found.body


async def test_every_answer_is_hardened() -> None:
    """No answer is kept, framed, guessed at, or may load anything, errors included."""
    async with opened() as port:
        for path in ("/livez", "/metrics", "/debug/stacks", "/else"):
            headers = (await port.get(path)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "server" not in headers


async def test_a_failure_is_an_answer() -> None:
    """What fails without reason is answered with 500, and logged with the path."""

    def broken() -> object:
        raise KeyError("broken")

    async with opened(inspections={"broken": broken}) as port:
        with capture_logs() as said:
            found = await port.get("/debug/broken")
            assert (await port.get("/livez")).status == 200
    assert (found.status, found.body) == (500, "internal error\n")
    [line] = said
    assert (line["event"], line["path"]) == ("HTTP request failed", "/debug/broken")


async def test_other_methods() -> None:
    """Pages are there to be read."""
    async with opened() as port:
        assert (await port.get("/livez", "HEAD")).status == 200
        assert (await port.get("/livez", "DELETE")).status == 405


async def test_ipv6() -> None:
    """It listens on IPv6 addresses too."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(ConfigurationError):
            async with opened("[::1]:0"):
                pass
        return
    async with opened("[::1]:0") as port:
        found = await asyncio.to_thread(_over_ipv6, port)
    assert found == 200


def _over_ipv6(port: Opened) -> int:
    return port.asked_over(port.connection("::1"), "/livez").status


async def test_port_in_use() -> None:
    """A port that is taken is refused, naming the setting."""
    async with opened() as port:
        with pytest.raises(ConfigurationError, match="HOLDFAST_HTTP"):
            async with opened(f"127.0.0.1:{port.port.port}"):
                pass


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "256.1:1"])
async def test_malformed(address: str) -> None:
    """An address that can't be listened on is refused, naming the setting."""
    with pytest.raises(ConfigurationError, match="HOLDFAST_HTTP"):
        async with opened(address):
            pass


async def test_the_port_closes() -> None:
    """Once the port is closed, nobody listens there, and its connections are gone."""
    async with opened() as port:
        silent = port.socket()
        assert (await port.get("/livez")).status == 200
    with silent:
        assert silent.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        port.ask("/livez")


async def test_a_port_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port whose thread is stuck doesn't keep the process from ending."""
    stuck, free = threading.Event(), threading.Event()

    def hang(_: Visitors) -> None:
        stuck.set()
        free.wait()

    monkeypatch.setattr("holdfast.service.web.port.PATIENCE", 0.01)
    with capture_logs() as said:
        async with opened():
            monkeypatch.setattr(Visitors, "sweep", hang)
            await eventually(stuck.is_set)
    free.set()
    assert [line["event"] for line in said][1:] == ["HTTP port still open; it is left behind"]
    await eventually(lambda: all(one.name != "http" for one in threading.enumerate()))


async def test_a_port_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the port's loop fails, that is logged, probes are refused at once, and it still closes."""

    def broken(_: Visitors) -> None:
        raise RuntimeError("broken")

    with capture_logs() as said:
        async with opened() as port:
            monkeypatch.setattr(Visitors, "sweep", broken)
            await eventually(lambda: any(line["event"] == "HTTP port failed" for line in said))
            with pytest.raises(ConnectionRefusedError):
                await port.get("/livez")
