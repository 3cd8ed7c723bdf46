"""A TCP proxy that drops connections silently, as a load balancer does with idle ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.servers.fault_proxy import FaultProxy, listening


class DroppingProxy(FaultProxy):
    """Forwards both ways; a dropped connection stays open, but nothing passes through it any more.

    `dropped` counts the connections that were used after they had been dropped.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._dropping = asyncio.Event()
        self.dropped = 0

    def drop(self) -> None:
        """Drops all connections that are open now; new ones are served."""
        self._dropping.set()
        self._dropping = asyncio.Event()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        dropping = self._dropping
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.add(downstream)
        ways = [
            asyncio.create_task(self._forward(reader, downstream, dropping)),
            asyncio.create_task(self._forward(upstream, writer, dropping)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if dropping.is_set() and not ways[0].done():
                await ways[0]
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            downstream.close()
            self._writers.discard(downstream)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        dropping: asyncio.Event,
    ) -> None:
        """Forwards one direction; discards what is sent on a dropped connection."""
        swallowed = False
        with suppress(OSError):
            while data := await reader.read(2**16):
                if not dropping.is_set():
                    writer.write(data)
                    await writer.drain()
                elif not swallowed:
                    swallowed = True
                    self.dropped += 1


@asynccontextmanager
async def dropping_proxy(port: int) -> AsyncIterator[DroppingProxy]:
    """A proxy in front of the server on a loopback port."""
    async with listening(DroppingProxy(port)) as proxy:
        yield proxy
