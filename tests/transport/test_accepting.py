"""What goes wrong while connections are accepted."""

from __future__ import annotations

import asyncio
import errno
import socket
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from holdfast.transport.counts import Counts, Refusal
from holdfast.transport.limits import Limits
from holdfast.transport.listening import AT_ONCE, EXHAUSTED, Listening
from holdfast.transport.syn_filter import drop_new_connections

from .local import bound, listening
from .raw_client import PREFACE, WAIT, Kind, parsed, settings

ROUNDS = 5
"""How often the loop serves others while connections are accepted."""
MANY = (ROUNDS + 2) * AT_ONCE
GRACE = 1.0
"""Seconds that the server's calls have to end."""


class Failing(socket.socket):
    """A listener whose kernel always has an error instead of a connection."""

    def __init__(self, error: int) -> None:
        """Fails with an error of the operating system."""
        super().__init__()
        self.error = error
        self.attempts = 0
        self.attempted = asyncio.Event()

    def accept(self) -> NoReturn:
        """Fails."""
        self.attempts += 1
        self.attempted.set()
        # Otherwise a loop that serves nobody else would never end.
        assert self.attempts < MANY
        raise OSError(self.error, "no connection")


@pytest.mark.parametrize("number", [errno.EPROTO, errno.EMFILE])
async def test_errors_one_after_another(number: int) -> None:
    """However often the kernel has an error instead of a connection, the loop serves others."""
    counts = Counts()
    shared: Any = SimpleNamespace(
        loop=asyncio.get_running_loop(), counts=counts, limits=Limits(), connections=set()
    )
    sock = Failing(number)
    sock.bind(("127.0.0.1", 0))
    listening = Listening(sock, None, shared)
    with socket.create_connection(sock.getsockname()):
        await sock.attempted.wait()
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        assert counts.refused[Refusal.DESCRIPTORS] == (number in EXHAUSTED)
        assert sock.attempts == 1 or number not in EXHAUSTED
        listening.close()


@pytest.mark.parametrize("passes", range(4))
async def test_a_client_that_was_connected_when_the_server_began_to_leave(passes: int) -> None:
    """A client that the kernel has connected is told to go elsewhere, however far its server is."""
    leaving = await listening(Limits())
    with socket.create_connection(("127.0.0.1", leaving.port)) as client:
        client.sendall(PREFACE + settings())
        for _ in range(passes):
            await asyncio.sleep(0)
        await leaving.server.drain(GRACE)
        client.settimeout(WAIT)
        frames, _ = parsed(b"".join(iter(lambda: client.recv(1 << 16), b"")))
    assert Kind.GOAWAY in {frame.kind for frame in frames}


async def test_a_client_that_connects_while_a_listener_closes() -> None:
    """Who begins to connect to a listener that leaves reaches the next one at its address."""
    loop = asyncio.get_running_loop()
    with bound() as leaving, socket.socket() as early, socket.socket() as late:
        address = leaving.getsockname()
        leaving.listen()
        early.connect(address)
        assert drop_new_connections(leaving)
        late.setblocking(False)
        connected = asyncio.create_task(loop.sock_connect(late, address))
        await asyncio.sleep(0)
        with leaving.accept()[0] as accepted:
            early.sendall(b"early")
            assert accepted.recv(5) == b"early"
        leaving.setblocking(False)
        with pytest.raises(BlockingIOError):
            leaving.accept()
        leaving.close()
        with bound(address[1]) as following:
            following.listen()
            await asyncio.wait_for(connected, WAIT)
            with following.accept()[0] as accepted:
                late.setblocking(True)
                late.sendall(b"late")
                assert accepted.recv(4) == b"late"
