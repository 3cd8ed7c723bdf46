"""Connections and streams that do nothing cost little memory."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.project.repository import ROOT
from tests.servers.process import free_port, listens, started

from .floods import CHAT
from .raw_client import (
    ACK,
    HEADER,
    PREFACE,
    Kind,
    data,
    frame,
    headers,
    message,
    request_fields,
    settings,
)

KIB = 2**10
PAGE = resource.getpagesize()
CONNECTIONS = 400
STREAMS = 1_000
PER_CONNECTION = 100
FIRST = 50
"""Connections that bring in what isn't theirs: code, buffers, arenas."""
MOST_OF_CONNECTION = 16 * KIB
MOST_OF_STREAM = 28 * KIB


@dataclass(frozen=True, slots=True)
class Measured:
    """A server as a process."""

    port: int
    process: int

    def memory(self) -> int:
        """Bytes that are in memory."""
        pages = int(Path(f"/proc/{self.process}/statm").read_text("ascii").split()[1])
        return pages * PAGE


@pytest.fixture(params=["asyncio", "uvloop"])
def measured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Measured]:
    """A server that nobody else uses."""
    port = free_port()
    command = [sys.executable, "-m", "tests.transport.serve", str(port), "--loop", request.param]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with started(command, tmp_path / "log", lambda: listens(port), environment) as process:
        yield Measured(port, process.pid)


def connection(port: int, stack: ExitStack) -> socket.socket:
    """A connection whose both sides have said what they must."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
    ping = frame(Kind.PING, payload=b"are you?")
    sock.sendall(PREFACE + settings() + frame(Kind.SETTINGS, ACK) + ping)
    until(sock, Kind.PING)
    return sock


def until(sock: socket.socket, kind: Kind) -> None:
    """Receives frames up to the first of a kind."""
    while True:
        head = exactly(sock, HEADER)
        exactly(sock, int.from_bytes(head[:3]))
        if head[3] == kind:
            return


def exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes of what the server sends."""
    received = bytearray()
    while len(received) < size:
        piece = sock.recv(size - len(received))
        assert piece, "the server has closed the connection"
        received += piece
    return bytes(received)


def test_an_idle_connection(measured: Measured) -> None:
    """A connection that does nothing costs at most 16 KiB."""
    with ExitStack() as stack:
        for _ in range(FIRST):
            connection(measured.port, stack)
        before = measured.memory()
        for _ in range(CONNECTIONS):
            connection(measured.port, stack)
        assert (measured.memory() - before) / CONNECTIONS <= MOST_OF_CONNECTION


def test_an_idle_stream(measured: Measured) -> None:
    """A stream that has said something, and waits for more, costs at most 28 KiB."""
    with ExitStack() as stack:
        for _ in range(FIRST):
            connection(measured.port, stack)
        before = measured.memory()
        for _ in range(STREAMS // PER_CONNECTION):
            sock = connection(measured.port, stack)
            for stream in range(1, 2 * PER_CONNECTION, 2):
                greeting = data(stream, message(b"hello"))
                sock.sendall(headers(stream, request_fields(CHAT)) + greeting)
                until(sock, Kind.DATA)
        assert (measured.memory() - before) / STREAMS <= MOST_OF_STREAM
