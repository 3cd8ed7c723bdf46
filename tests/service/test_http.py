"""The HTTP side door: probes and metrics."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from holdfast.errors import ConfigurationError
from holdfast.service.process.http import SideDoor
from holdfast.service.process.metrics import Metrics


class Door:
    """A side door whose readiness a test decides."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.ready = True
        self.door = SideDoor(address, lambda: self.ready, Metrics().exposition)

    def get(self, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
        """Status and body of a GET."""
        try:
            with urllib.request.urlopen(f"http://{host}:{self.door.port}{path}") as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def door() -> Iterator[Door]:
    """A side door on a free port."""
    door = Door()
    yield door
    door.door.close()


def test_alive(door: Door) -> None:
    """A process that answers is alive, draining or not."""
    for ready in (True, False):
        door.ready = ready
        assert door.get("/livez") == (200, "ok\n")


def test_ready(door: Door) -> None:
    """Readiness follows the frontend."""
    assert door.get("/readyz") == (200, "ok\n")
    door.ready = False
    assert door.get("/readyz") == (503, "draining\n")


def test_metrics(door: Door) -> None:
    """The figures are in Prometheus's format."""
    status, text = door.get("/metrics")
    assert status == 200
    assert "holdfast_stored_bytes_total 0.0" in text


def test_elsewhere(door: Door) -> None:
    """Another path says where to look."""
    status, text = door.get("/")
    assert status == 404
    assert "/metrics" in text


def test_ipv6() -> None:
    """It listens on IPv6 addresses too."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(ConfigurationError):
            Door("[::1]:0")
        return
    door = Door("[::1]:0")
    try:
        assert door.get("/livez", "[::1]") == (200, "ok\n")
    finally:
        door.door.close()


def test_port_in_use(door: Door) -> None:
    """A port that is taken is refused, naming the setting."""
    with pytest.raises(ConfigurationError, match="HOLDFAST_HTTP"):
        Door(f"127.0.0.1:{door.door.port}")


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "256.1:1"])
def test_malformed(address: str) -> None:
    """An address that can't be listened on is refused, naming the setting."""
    with pytest.raises(ConfigurationError, match="HOLDFAST_HTTP"):
        Door(address)
