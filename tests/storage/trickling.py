"""An S3 server whose replies come byte by byte, or that receives requests so."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PACE = 0.02
"""Seconds from one byte to the next: no client that waits for silence gives up."""
RECEIVED = 1024
"""Bytes of a request that are received at a time, at that pace."""


@dataclass
class Trickle:
    """What is answered, and how: at first all of `at_once`, and then each byte of `slowly`.

    Attributes:
        at_once: the beginning of each reply.
        slowly: its rest.
        port: where it listens.
        receives_slowly: whether it receives requests slowly, too.
        well: set: it answers at once.
        peers: those that have connected.
        left: replies that it couldn't finish, because the client had gone.
    """

    at_once: bytes
    slowly: bytes
    port: int
    receives_slowly: bool = False
    well: threading.Event = field(default_factory=threading.Event)
    left: int = 0
    peers: set[socket.socket] = field(default_factory=set)

    def converse(self, peer: socket.socket, end: threading.Event) -> None:
        """Answers one connection's requests, until its client leaves."""
        with peer, suppress(OSError):
            while self._request(peer, end):
                peer.sendall(self.at_once)
                try:
                    self._finish(peer, end)
                except OSError:
                    self.left += 1
                    raise
                if b"Connection: close" in self.at_once:
                    return

    def _finish(self, peer: socket.socket, end: threading.Event) -> None:
        if self.well.is_set():
            peer.sendall(self.slowly)
            return
        for byte in self.slowly:
            peer.sendall(bytes([byte]))
            end.wait(PACE)

    def _request(self, peer: socket.socket, end: threading.Event) -> bool:
        """Receives a request; returns whether there was one."""
        received, wanted = b"", 1
        while len(received) < wanted:
            slow = self.receives_slowly and not self.well.is_set()
            if slow:
                end.wait(PACE)
            piece = peer.recv(RECEIVED if slow else 2**16)
            if not piece:
                return False
            received += piece
            head, found, _ = received.partition(b"\r\n\r\n")
            wanted = len(head) + 4 + _length(head) if found else len(received) + 1
        return True


def _length(head: bytes) -> int:
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return int(fields.get(b"content-length", b"0"))


@contextmanager
def trickling(
    at_once: bytes,
    slowly: bytes,
    *,
    receives_slowly: bool = False,
    trust: ssl.SSLContext | None = None,
) -> Iterator[Trickle]:
    """Runs such a server; with `trust`, over TLS."""
    end = threading.Event()
    with socket.socket() as server, ThreadPoolExecutor(64) as threads:
        if receives_slowly:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
        server.bind(("127.0.0.1", 0))
        server.listen()
        trickle = Trickle(at_once, slowly, server.getsockname()[1], receives_slowly)

        def accept() -> None:
            with suppress(OSError):
                while not end.is_set():
                    peer, _ = server.accept()
                    secure = trust.wrap_socket(peer, server_side=True) if trust else peer
                    trickle.peers.add(secure)
                    threads.submit(trickle.converse, secure, end)

        threads.submit(accept)
        try:
            yield trickle
        finally:
            end.set()
            for one in (server, *trickle.peers):
                with suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
