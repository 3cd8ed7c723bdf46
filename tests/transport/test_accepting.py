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
from holdfast.transport.listening import EXHAUSTED, Listening

ROUNDS = 5
"""How often the loop serves others while connections are accepted."""
MANY = 100


@pytest.mark.parametrize("number", [errno.EPROTO, errno.EMFILE])
async def test_errors_one_after_another(number: int) -> None:
    """However often the kernel has an error instead of a connection, the loop serves others."""
    attempts = 0

    async def fail(_: socket.socket) -> NoReturn:
        nonlocal attempts
        attempts += 1
        # Otherwise a loop that serves nobody else would never end.
        assert attempts < MANY
        raise OSError(number, "no connection")

    counts = Counts()
    shared: Any = SimpleNamespace(
        loop=SimpleNamespace(sock_accept=fail), counts=counts, limits=Limits(), connections=set()
    )
    listening = Listening(socket.create_server(("127.0.0.1", 0)), None, shared)
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
    assert 1 <= attempts <= ROUNDS
    assert counts.refused[Refusal.DESCRIPTORS] == (number in EXHAUSTED)
    listening.close()
