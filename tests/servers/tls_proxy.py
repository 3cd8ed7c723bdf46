"""A TCP proxy that speaks TLS with clients, and none with the server behind it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.servers.authority import Issued


class TlsProxy:
    """A proxy in front of a server on loopback.

    Attributes:
        port: where it listens.
        received: bytes that clients have sent inside TLS.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.received = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection."""
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, downstream}

        async def requests() -> None:
            while data := await reader.read(65536):
                self.received += len(data)
                downstream.write(data)
            downstream.close()

        async def replies() -> None:
            while data := await upstream.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        with suppress(OSError):
            await asyncio.gather(requests(), replies())
        for one in (writer, downstream):
            self._writers.discard(one)
            one.close()

    def close(self) -> None:
        """Closes all connections."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def tls_proxy(target: int, shown: Issued, folder: Path) -> AsyncIterator[TlsProxy]:
    """Runs a proxy that shows a certificate, in front of the server on a loopback port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*shown.write(folder, f"proxy-{target}"))
    proxy = TlsProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=context)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
        await server.wait_closed()
