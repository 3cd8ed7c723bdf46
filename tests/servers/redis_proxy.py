"""A proxy before Redis that knows requests from each other, and can spoil one.

lost     the request doesn't reach Redis, and the connection breaks
unheard  Redis carries it out; the connection breaks before the reply
late     the request stands still until the client has gone, and lands when told to
twice    Redis gets it twice; the client hears the first answer
cut      the connection breaks in the middle of the reply
gone     this request and all that follow are lost
loading, readonly, oom   Redis refuses, as it does while it starts, follows, is full
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

Words = Sequence[bytes]

REPLIES = {
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "readonly": b"-READONLY You can't write against a read only replica.\r\n",
    "oom": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
}
LOSES = frozenset({"lost", "gone"})
FAULTS = ("lost", "unheard", "late", "twice", "cut", "gone", *REPLIES)


class Plan(Protocol):
    """Says what happens to a request."""

    def take(self, kind: str) -> str:
        """Counts a request; returns its fault, or ""."""

    def keep(self, late: Callable[[], object]) -> None:
        """Keeps a request that is to land later."""


class RedisProxy:
    """Stands before one Redis on loopback; `kind_of` names the requests that count."""

    def __init__(self, port: int, plan: Plan, kind_of: Callable[[Words], str]) -> None:
        self._target = port
        self._plan = plan
        self._kind_of = kind_of
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[object]] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection, request by request."""
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, downstream}
        try:
            while True:
                raw, words = await read_request(reader)
                if words[0].upper() in {b"SUBSCRIBE", b"PSUBSCRIBE"}:
                    downstream.write(raw)
                    await _joined(reader, downstream, upstream, writer)
                    return
                kind = self._kind_of(words)
                fault = self._plan.take(kind) if kind else ""
                if not await self._carry(fault, raw, reader, writer, (upstream, downstream)):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for open_one in (writer, downstream):
                open_one.close()
            self._writers -= {writer, downstream}

    async def _carry(
        self,
        fault: str,
        raw: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        redis: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        """Carries out one request; returns whether the connection goes on."""
        if fault in LOSES:
            return False
        if fault == "late":
            self._plan.keep(lambda: self._land(raw))
            await reader.read()  # until the client gives up
            return False
        if fault in REPLIES:
            writer.write(REPLIES[fault])
            return True
        upstream, downstream = redis
        downstream.write(raw)
        reply = await read_reply(upstream)
        if fault == "unheard":
            return False
        if fault == "cut":
            writer.write(reply[: len(reply) // 2])
            await writer.drain()
            return False
        if fault == "twice":
            downstream.write(raw)
            await read_reply(upstream)
        writer.write(reply)
        await writer.drain()
        return True

    async def _land(self, raw: bytes) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        downstream.write(raw)
        await read_reply(upstream)
        downstream.close()

    async def close(self) -> None:
        """Ends all connections, and waits until they have ended."""
        for writer in self._writers:
            writer.close()
        if self._serving:
            await asyncio.wait(self._serving)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, Words]:
    """One request: an array of bulk strings, as it came and taken apart."""
    head = await reader.readuntil(b"\r\n")
    raw, words = bytearray(head), []
    for _ in range(int(head[1:])):
        line = await reader.readuntil(b"\r\n")
        body = await reader.readexactly(int(line[1:]) + 2)
        raw += line + body
        words.append(body[:-2])
    return bytes(raw), words


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    """One reply of protocol version 2, with all that it holds."""
    head = await reader.readuntil(b"\r\n")
    kind, count = head[:1], head[1:-2]
    if kind == b"$" and count != b"-1":
        return head + await reader.readexactly(int(count) + 2)
    if kind == b"*" and count != b"-1":
        return head + b"".join([await read_reply(reader) for _ in range(int(count))])
    return head


async def _joined(
    reader: asyncio.StreamReader,
    downstream: asyncio.StreamWriter,
    upstream: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """A subscription: both directions speak when they like."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()

    await asyncio.gather(pump(reader, downstream), pump(upstream, writer))


@asynccontextmanager
async def redis_proxy(
    port: int, plan: Plan, kind_of: Callable[[Words], str]
) -> AsyncIterator[RedisProxy]:
    """A proxy before the Redis on a loopback port."""
    proxy = RedisProxy(port, plan, kind_of)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
