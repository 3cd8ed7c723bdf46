"""Where the image is fetched: one line for all nodes, which is slow and counts what it sends.

It stands for a registry. A request is a line, `HEAD` or `GET DIGEST`; the answer is the manifest's
digest and size, or the bytes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from bench.fleet.image import Described, MadeImage

CHUNK: Final = 64 * 1024
FLIGHT: Final = 2**20
"""Bytes from which on nodes wait for each other: FLIGHT_SIZE's default."""


@dataclass(slots=True)
class Source:
    """What serves an image.

    Attributes:
        image: what it has.
        rate: bytes per s that it sends to all together.
        served: bytes sent, by digest.
        resolved: how often it was asked what the image is.
        port: on 127.0.0.1.
    """

    image: MadeImage
    rate: float
    served: Counter[str] = field(default_factory=Counter)
    resolved: int = 0
    port: int = 0
    _free_at: float = 0.0

    @property
    def fetched(self) -> float:
        """How often the image's bytes were fetched."""
        return self.served.total() / self.image.size

    @property
    def most_fetched(self) -> float:
        """How often the bytes of the layer were that was fetched most; small ones don't count."""
        large = [one for one in self.image.layers if one.size >= FLIGHT]
        return max((self.served[one.digest] / one.size for one in large), default=0.0)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one request."""
        with suppress(OSError):
            word, _, digest = (await reader.readline()).decode("ascii").strip().partition(" ")
            if word == "HEAD":
                self.resolved += 1
                root = self.image.manifest
                writer.write(f"{root.digest} {root.size}\n".encode())
            else:
                await self._send(digest, writer)
            await writer.drain()
        writer.close()

    async def _send(self, digest: str, writer: asyncio.StreamWriter) -> None:
        body = self.image.blobs[digest]
        for offset in range(0, len(body), CHUNK):
            piece = body[offset : offset + CHUNK]
            await self._turn(len(piece))
            self.served[digest] += len(piece)
            writer.write(piece)
            await writer.drain()

    async def _turn(self, size: int) -> None:
        """Waits until the line has room for so many bytes."""
        now = asyncio.get_running_loop().time()
        begin = max(now, self._free_at)
        self._free_at = begin + size / self.rate
        await asyncio.sleep(begin - now)


@asynccontextmanager
async def serving(image: MadeImage, rate: float) -> AsyncIterator[Source]:
    """Serves an image on loopback until the block ends."""
    source = Source(image, rate)
    server = await asyncio.start_server(source.answer, "127.0.0.1", 0)
    source.port = server.sockets[0].getsockname()[1]
    try:
        yield source
    finally:
        server.close()


@dataclass(frozen=True, slots=True)
class Line:
    """A node's way to the source."""

    port: int

    async def resolve(self) -> Described:
        """Asks which manifest the image's name stands for."""
        async with self._asked("HEAD") as reader:
            digest, size = (await reader.readline()).split()
        return Described(digest.decode(), int(size), "manifest")

    async def fetch(self, blob: Described, piece: int) -> AsyncIterator[bytes]:
        """Yields a blob's bytes in pieces of one size; the last one may be shorter."""
        async with self._asked(f"GET {blob.digest}") as reader:
            left = blob.size
            while left:
                data = await reader.readexactly(min(piece, left))
                left -= len(data)
                yield data

    @asynccontextmanager
    async def _asked(self, request: str) -> AsyncIterator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"{request}\n".encode("ascii"))
            yield reader
        finally:
            writer.close()
