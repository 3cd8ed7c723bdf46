"""A TCP proxy that forwards a request, and then loses its reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


class CuttingProxy:
    """A proxy between one client and one server, both on loopback."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._marker: bytes | None = None
        self._reply = b""
        self._then: Callable[[], object] = bool
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0
        self.port = 0

    def lose_reply_to(
        self,
        marker: bytes | None,
        reply: bytes = b"",
        then: Callable[[], object] = bool,
    ) -> None:
        """Forwards the next request that contains `marker`, and loses its reply.

        Args:
            marker: what the request contains; None: no reply is lost any more.
            reply: what the reply contains; what comes before it is forwarded.
            then: called once the reply has come, before its connections are closed.
        """
        self._marker, self._reply, self._then = marker, reply, then

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection."""
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, downstream}
        cut = asyncio.Event()

        async def requests() -> None:
            while data := await reader.read(65536):
                if self._marker is not None and self._marker in data:
                    self._marker = None
                    cut.set()
                downstream.write(data)
            downstream.close()

        async def replies() -> None:
            while data := await upstream.read(65536):
                if cut.is_set() and self._reply in data:
                    # The reply has arrived, so the request has taken effect.
                    self.cuts += 1
                    self._then()
                    break
                writer.write(data)
            writer.close()

        with suppress(OSError):
            await asyncio.gather(requests(), replies())
        downstream.close()
        writer.close()

    def close(self) -> None:
        """Closes all connections."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of the server on a loopback port."""
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
