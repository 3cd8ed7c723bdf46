"""The ports that tests give to their servers."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.servers.process import PORTS, free_port, is_free


def test_no_connection_takes_a_servers_port() -> None:
    """A free port is below those that the kernel gives to connections, if there is room below."""
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(1024 <= free_port() < max(lowest, PORTS.stop) for _ in range(20))


def test_what_is_taken_is_not_free() -> None:
    """The port of a server or of a connection isn't free until it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        with client:
            assert not is_free(server.getsockname()[1])
            assert not is_free(client.getsockname()[1])
