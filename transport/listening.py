"""Accepts connections on one socket, with TLS by the context that is current at that moment."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Final

from holdfast.tasks import begin
from holdfast.transport.counts import Refusal
from holdfast.transport.protocol import ServerProtocol, Shared
from holdfast.transport.tls import TlsContext

BACKLOG: Final = 1024
"""Connections that the kernel keeps until they are accepted."""
AT_ONCE: Final = 16
"""Connections that are accepted before the loop serves others."""
PAUSE: Final = 0.5
"""Seconds until the next attempt if the process has no descriptor left."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Failures of `accept` that pass once others have closed something."""


class Listening:
    """One socket that listens."""

    def __init__(self, sock: socket.socket, tls: TlsContext | None, shared: Shared) -> None:
        """Begins to listen; `begin` begins to accept.

        Args:
            sock: a bound socket, which belongs to this object now.
            tls: how connections are encrypted; they aren't if it is None.
            shared: what all connections share.
        """
        self._sock = sock
        self._tls = tls
        self._shared = shared
        self._handshakes = 0
        self._welcomes: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._accepting = begin(self._accept())

    async def _accept(self) -> None:
        # The socket is closed only here, when the loop no longer waits for it.
        with self._sock:
            try:
                await self._accept_all()
            finally:
                self._accept_the_last()

    async def _accept_all(self) -> None:
        loop, accepted = self._shared.loop, 0
        while True:
            try:
                client, _ = await loop.sock_accept(self._sock)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._shared.counts.refused[Refusal.DESCRIPTORS] += 1
                # Else it is an error of that client's connection. If one comes after another, the
                # loop must serve others in between.
                await asyncio.sleep(PAUSE if error.errno in EXHAUSTED else 0)
                continue
            self._admit(client)
            accepted += 1
            if accepted % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _accept_the_last(self) -> None:
        # The kernel resets those that it has connected and we haven't accepted.
        with suppress(OSError):
            while True:
                client, _ = self._sock.accept()
                self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        shared = self._shared
        if len(shared.connections) + self._handshakes >= shared.limits.max_connections:
            shared.counts.refused[Refusal.CONNECTIONS] += 1
            client.close()
            return
        self._handshakes += 1
        welcome = begin(self._welcome(client))
        self._welcomes.add(welcome)
        welcome.add_done_callback(self._welcomed)

    async def _welcome(self, client: socket.socket) -> None:
        shared = self._shared
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await shared.loop.connect_accepted_socket(
                lambda: ServerProtocol(shared),
                client,
                ssl=None if self._tls is None else self._tls.current,
                ssl_handshake_timeout=None if self._tls is None else shared.limits.handshake,
            )
        except (OSError, EOFError):  # TLS's errors are of the operating system, too
            shared.counts.refused[Refusal.HANDSHAKES] += 1
            client.close()

    def _welcomed(self, welcome: asyncio.Task[None]) -> None:
        self._handshakes -= 1
        self._welcomes.discard(welcome)

    async def stop(self, patience: float) -> None:
        """Stops listening once clients that the kernel has connected are accepted.

        Args:
            patience: seconds that their handshakes may take.
        """
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        if self._welcomes:
            await asyncio.wait(self._welcomes, timeout=patience)
        self.close()

    def close(self) -> None:
        """Stops listening; clients that haven't finished their handshake are disconnected."""
        self._accepting.cancel()
        for welcome in self._welcomes:
            welcome.cancel()
