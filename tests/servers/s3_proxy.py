"""A proxy before S3 that knows requests from each other, and can spoil one.

lost     the request doesn't reach the server, and the connection breaks
unheard  the server carries it out; the connection breaks before the reply
late     the request stands still until the client has gone, and lands when told to
twice    the server gets it twice; the client hears the first answer
torn     half of the request's body reaches the server, then both connections break
cut      the connection breaks in the middle of the reply's body
corrupt  a bit of the reply's body is flipped
slow-down, error   answered 503 or 500, and not carried out
failed   carried out, and answered 500
inside   carried out, and answered 200 with an error in the body
gone     this request and all that follow are lost
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.servers.fault_proxy import LOSES, FaultProxy, Plan, fault_of, listening

LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a reply: its first line, its headers as they came, its body."""

    first: str
    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """As it goes over the wire."""
        return self.head + self.body


def refusal(status: int, code: str) -> bytes:
    """An answer with an S3 error in it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault</Message></Error>"
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


REFUSALS = {"slow-down": refusal(503, "SlowDown"), "error": refusal(500, "InternalError")}
ANSWERS = {"failed": refusal(500, "InternalError"), "inside": refusal(200, "InternalError")}


class S3Proxy(FaultProxy):
    """Stands before one S3 server.

    `name` tells whose request it is and what it is; whose plan is asked is in `plans`.
    """

    def __init__(self, port: int, name: Callable[[str], tuple[str, str]]) -> None:
        super().__init__(port)
        self._name = name
        self.plans: dict[str, Plan] = {}

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one client connection, request by request."""
        while (request := await read_message(reader, writer)) is not None:
            owner, kind = self._name(request.first)
            plan = self.plans.get(owner)
            if not await self._answer(fault_of(plan, kind), request, reader, writer, plan):
                return

    async def _answer(  # noqa: PLR0911 -- one for each fault
        self,
        fault: str,
        request: Message,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        plan: Plan | None,
    ) -> bool:
        """Answers one request; returns whether the connection goes on."""
        if fault in LOSES:
            return False
        if fault == "torn":
            await self._send(request.raw[: len(request.head) + len(request.body) // 2])
            return False
        if fault == "late" and plan:
            plan.keep(lambda: self._forward(request))
            await reader.read()  # until the client gives up
            return False
        if fault in REFUSALS:
            writer.write(REFUSALS[fault])
            await writer.drain()
            return True
        reply = await self._forward(request)
        if fault == "twice":
            await self._forward(request)
        if fault == "unheard":
            return False
        raw, half = reply.raw, len(reply.head) + len(reply.body) // 2
        if fault == "cut":
            writer.write(raw[:half])
            await writer.drain()
            return False
        if fault == "corrupt" and reply.body:
            raw = raw[:half] + bytes([raw[half] ^ 1]) + raw[half + 1 :]
        writer.write(ANSWERS.get(fault, raw))
        await writer.drain()
        return True

    async def _forward(self, request: Message) -> Message:
        """Carries a request out on a connection of its own."""
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target, limit=LIMIT)
        try:
            downstream.write(request.raw)
            reply = await read_message(upstream, None, of=request.first.split(" ", 1)[0])
            if reply is None:
                raise ConnectionResetError("the server hung up")
            return reply
        finally:
            downstream.close()

    async def _send(self, raw: bytes) -> None:
        _, downstream = await asyncio.open_connection("127.0.0.1", self._target)
        downstream.write(raw)
        await downstream.drain()
        downstream.close()


async def read_message(
    reader: asyncio.StreamReader, invites: asyncio.StreamWriter | None, of: str = ""
) -> Message | None:
    """One request or reply with all of its body; None where the connection ends before it.

    Args:
        reader: where it comes from.
        invites: is told to go on where a client waits for that before it sends a body.
        of: the method of the request that a reply is to: HEAD has none of the body it claims.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if invites and "100-continue" in headers.get("expect", "").lower():
        invites.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        kept = [line for line in lines if not line.lower().startswith("expect:")]
        head = "\r\n".join(kept).encode("latin-1")
    if of == "HEAD" or lines[0].split(" ")[1] in {"204", "304"}:
        return Message(lines[0], head, b"")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Message(lines[0], head, await _chunks(reader))
    length = int(headers.get("content-length", "0"))
    return Message(lines[0], head, await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    raw = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line + await reader.readexactly(size + 2)
        if size == 0:
            return bytes(raw)


@asynccontextmanager
async def s3_proxy(port: int, name: Callable[[str], tuple[str, str]]) -> AsyncIterator[S3Proxy]:
    """A proxy before the S3 server on a loopback port."""
    async with listening(S3Proxy(port, name), LIMIT) as proxy:
        yield proxy
