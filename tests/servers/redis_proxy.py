"""A proxy in front of Redis that distinguishes requests, and can disturb one.

lost     the request doesn't reach Redis, and the connection breaks
unheard  Redis performs it; the connection breaks before the reply
late     the request is held until the client has gone, and arrives when the test says so
twice    Redis gets it twice; the client gets the first answer
cut      the connection breaks in the middle of the reply
garbled  Redis performs it; what comes back isn't in its protocol
gone     this request and all that follow are lost
loading, readonly, oom   Redis refuses, as while it starts, is a replica, is full

A message published on a channel is struck like a request: `MESSAGE <channel> <data>`.

lost, gone   it doesn't arrive, and the connection breaks
twice    it arrives twice
cut      the connection breaks in the middle of it
garbled  what arrives isn't in Redis's protocol
corrupt  a bit of the message is flipped
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tests.servers.fault_proxy import LOSES, FaultProxy, Plan, fault_of, listening

Words = Sequence[bytes]

REPLIES = {
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "readonly": b"-READONLY You can't write against a read only replica.\r\n",
    "oom": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
}
FAULTS = ("lost", "unheard", "late", "twice", "cut", "garbled", "gone", *REPLIES)
PUBLISHED = ("lost", "twice", "cut", "garbled", "corrupt")
"""Faults of published messages."""


class RedisProxy(FaultProxy):
    """A proxy in front of one Redis; `kind_of` names the requests that count."""

    def __init__(self, port: int, plan: Plan, kind_of: Callable[[Words], str]) -> None:
        super().__init__(port)
        self._plan = plan
        self._kind_of = kind_of

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection, request by request."""
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.add(downstream)
        try:
            while True:
                raw, words = await read_request(reader)
                fault = fault_of(self._plan, self._kind_of(words))
                if not await self._carry(fault, raw, reader, writer, (upstream, downstream)):
                    return
                if words[0].upper() in {b"SUBSCRIBE", b"PSUBSCRIBE"} and fault not in REPLIES:
                    await self._subscribed(reader, writer, (upstream, downstream))
                    return
        finally:
            downstream.close()
            self._writers.discard(downstream)

    async def _carry(
        self,
        fault: str,
        raw: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        redis: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        """Performs one request; returns whether the connection continues."""
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
        if fault == "twice":
            downstream.write(raw)
            await read_reply(upstream)
        return await _answer(writer, fault, reply)

    async def _subscribed(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        redis: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Serves a subscription: both sides send at any time, until one of them ends."""
        upstream, downstream = redis
        ways = [
            asyncio.create_task(self._asked(reader, writer, downstream)),
            asyncio.create_task(self._published(upstream, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _asked(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        downstream: asyncio.StreamWriter,
    ) -> None:
        """Forwards a subscriber's requests; their answers arrive among the published messages."""
        while True:
            raw, words = await read_request(reader)
            fault = fault_of(self._plan, self._kind_of(words))
            if fault in LOSES:
                return
            if fault == "late":
                await reader.read()
                return
            if fault in REPLIES:
                writer.write(REPLIES[fault])
                continue
            downstream.write(raw * 2 if fault == "twice" else raw)
            if fault in {"unheard", "cut", "garbled"}:
                return

    async def _published(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forwards what Redis sends to a subscriber."""
        while True:
            raw = await read_reply(upstream)
            words = published(raw)
            fault = fault_of(self._plan, self._kind_of(words)) if words else ""
            if fault in LOSES:
                return
            if fault == "corrupt":
                last = len(raw) - len(b"\r\n") - 1
                raw = raw[:last] + bytes([raw[last] ^ 1]) + raw[last + 1 :]
            if not await _answer(writer, fault, raw * 2 if fault == "twice" else raw):
                return

    async def _land(self, raw: bytes) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        downstream.write(raw)
        await read_reply(upstream)
        downstream.close()


async def _answer(writer: asyncio.StreamWriter, fault: str, reply: bytes) -> bool:
    """Forwards a reply, or what a fault leaves of it; returns whether the connection continues."""
    if fault == "unheard":
        return False
    if fault == "cut":
        reply = reply[: len(reply) // 2]
    if fault == "garbled":
        reply = b"?" + reply[1:]
    writer.write(reply)
    await writer.drain()
    return fault != "cut"


def published(reply: bytes) -> Words:
    """The words of a published message; empty if a reply is something else."""
    lines = reply.split(b"\r\n")
    if lines[0] != b"*3" or lines[2].lower() != b"message":
        return ()
    return (b"MESSAGE", lines[4], lines[6])


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, Words]:
    """Reads one request, an array of bulk strings: returns its bytes and its words."""
    head = await reader.readuntil(b"\r\n")
    raw, words = bytearray(head), []
    for _ in range(int(head[1:])):
        line = await reader.readuntil(b"\r\n")
        body = await reader.readexactly(int(line[1:]) + 2)
        raw += line + body
        words.append(body[:-2])
    return bytes(raw), words


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    """Reads one complete reply of protocol version 2."""
    head = await reader.readuntil(b"\r\n")
    kind, count = head[:1], head[1:-2]
    if kind == b"$" and count != b"-1":
        return head + await reader.readexactly(int(count) + 2)
    if kind == b"*" and count != b"-1":
        return head + b"".join([await read_reply(reader) for _ in range(int(count))])
    return head


@asynccontextmanager
async def redis_proxy(
    port: int, plan: Plan, kind_of: Callable[[Words], str]
) -> AsyncIterator[RedisProxy]:
    """A proxy in front of the Redis on a loopback port."""
    async with listening(RedisProxy(port, plan, kind_of)) as proxy:
        yield proxy
