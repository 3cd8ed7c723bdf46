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
from holdfast.transport.syn_filter import drop_new_connections
from holdfast.transport.tls import TlsContext

BACKLOG: Final = 1024
"""Connections that the kernel keeps until they are accepted."""
AT_ONCE: Final = 16
"""Connections that are accepted before the loop serves others."""
PAUSE: Final = 0.5
"""Seconds until the next attempt if the process has no descriptor left."""
CONNECTING: Final = 0.25
"""Seconds that clients have whose connection is being made when the listener closes: more than a
round trip takes, and less than the second after which those that are ignored ask again."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Failures of `accept` that pass once others have closed something."""


class Listening:
    """One socket that listens."""

    def __init__(self, sock: socket.socket, tls: TlsContext | None, shared: Shared) -> None:
        """Begins to listen and to accept.

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
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._begin()

    def _begin(self) -> None:
        self._pause = None
        self._shared.loop.add_reader(self._sock, self._accept)

    def _wait(self) -> None:
        self._shared.loop.remove_reader(self._sock)
        self._pause = self._shared.loop.call_later(PAUSE, self._begin)

    def _accept(self) -> None:
        # Not by the loop's `sock_accept`: a connection that it has accepted is lost if its waiter
        # is cancelled at that moment.
        for _ in range(AT_ONCE):
            try:
                client, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    continue  # an error of that client's connection
                self._shared.counts.refused[Refusal.DESCRIPTORS] += 1
                self._wait()
                return
            self._admit(client)

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
        """Stops listening once clients that have begun to connect are accepted.

        Args:
            patience: seconds that their handshakes may take.
        """
        if drop_new_connections(self._sock):
            await asyncio.sleep(min(patience, CONNECTING))
        self._end()
        if self._welcomes:
            await asyncio.wait(self._welcomes, timeout=patience)
        self.close()

    def _end(self) -> None:
        if self._sock.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._shared.loop.remove_reader(self._sock)
        self._accept_the_last()
        self._sock.close()

    def close(self) -> None:
        """Stops listening; clients that haven't finished their handshake are disconnected."""
        self._end()
        for welcome in self._welcomes:
            welcome.cancel()
