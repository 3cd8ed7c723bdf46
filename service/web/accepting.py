"""Accepts connections to the HTTP port, with TLS by the context that is current at that moment."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

from holdfast.service.web.cpu_share import CpuShare
from holdfast.service.web.visitors import Visitors
from holdfast.transport.tls import TlsContext

BACKLOG: Final = 256
"""Connections that the kernel keeps until they are accepted."""
AT_ONCE: Final = 16
"""Connections that are accepted before others are served."""
PAUSE: Final = 0.5
"""Seconds until the next attempt after `accept` has failed: usually no descriptor is left."""


class Accepting:
    """One socket that listens."""

    def __init__(
        self, sock: socket.socket, tls: TlsContext | None, visitors: Visitors, share: CpuShare
    ) -> None:
        """Begins to accept; call it in the loop that serves.

        Args:
            sock: a bound socket, which belongs to this object now.
            tls: how connections are encrypted; they aren't if it is None.
            visitors: admit those who come.
            share: of the CPU, for all that this thread does.
        """
        self._sock = sock
        self._tls = tls
        self._visitors = visitors
        self._share = share
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._begin()

    def _begin(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        self._share.rest()
        for _ in range(AT_ONCE):
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(PAUSE, self._begin)
                return
            if client.family != socket.AF_UNIX:
                with suppress(OSError):  # it has left already
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._visitors.admit(client, None if self._tls is None else self._tls.current)

    def close(self) -> None:
        """Stops listening."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
