"""A proxy in front of S3 that distinguishes requests, and can disturb one.

lost     the request doesn't reach the server, and the connection breaks
unheard  the server performs it; the connection breaks before the reply
late     the request is held until the client has gone, and arrives when the test says so
twice    the server gets it twice; the client gets the first answer
torn     half of the request's body reaches the server, then both connections break
cut      the connection breaks in the middle of the reply's body
corrupt  a bit of the reply's body is flipped
spoiled  a bit of the request's body is flipped before the server gets it
hung     the connection stays open, and the request is never answered
unranged the request loses its Range: the whole object is sent where a part was asked for
emptied, halved, shuffled   a listing has no entries, only the first half, or another order
slow-down, error, full, denied   answered with 503, 500, 507 or 403, and not performed
slow     performed, and answered two seconds later
trickling  performed; the reply comes byte by byte, as long as the client waits
page, absent, redirect, packed   something else answers: with a page that has an ETag, with
         a page that says 404, with a redirect to a login, or with a compressed body
failed   performed, and answered with 500
inside   performed, and answered with 200 and an error in the body
gone     this request and all that follow are lost
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.servers.fault_proxy import LOSES, FaultProxy, Plan, fault_of, listening
from tests.servers.s3_message import LISTINGS, Message, read_message

LIMIT = 2**20
SLOW = 2.0
"""Seconds by which a slow reply is late."""

PACE = 0.1
"""Seconds from one byte of a trickling reply to the next."""


def refusal(status: int, code: str) -> bytes:
    """An answer that contains an S3 error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault</Message></Error>"
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def stranger(status: int, *headers: str, body: bytes = b"<html>Please log in.</html>") -> bytes:
    """An answer that isn't S3's."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


STRANGERS = {
    "page": stranger(200, "Content-Type: text/html", 'ETag: "0123456789abcdef"'),
    "absent": stranger(404, "Content-Type: text/html"),
    "redirect": stranger(302, "Location: https://login.example/", "Content-Type: text/html"),
    "packed": stranger(
        200, "Content-Encoding: gzip", 'ETag: "0123456789abcdef"', body=b"\x1f\x8b\x08\0"
    ),
}
REFUSALS = {
    "slow-down": refusal(503, "SlowDown"),
    "error": refusal(500, "InternalError"),
    "full": refusal(507, "XMinioStorageFull"),
    "denied": refusal(403, "AccessDenied"),
    **STRANGERS,
}
ANSWERS = {"failed": refusal(500, "InternalError"), "inside": refusal(200, "InternalError")}


def _to(request: Message, answer: bytes) -> bytes:
    """An answer as the given request receives it: HEAD gets no body."""
    head, end, body = answer.partition(b"\r\n\r\n")
    return head + end + (b"" if request.first.startswith("HEAD ") else body)


class S3Proxy(FaultProxy):
    """A proxy in front of one S3 server.

    `name` returns whose request it is and its kind; `plans` has the plan of each owner. `bit`
    chooses which of a number of bits is flipped; `ahead` is added to the Date of each reply, in s.
    """

    def __init__(
        self,
        port: int,
        name: Callable[[str], tuple[str, str]],
        bit: Callable[[int], int] = lambda bits: bits // 16 * 8,
    ) -> None:
        super().__init__(port)
        self._name = name
        self._bit = bit
        self.plans: dict[str, Plan] = {}
        self.ahead = 0.0

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
        """Answers one request; returns whether the connection continues."""
        if fault in LOSES:
            return False
        if fault == "torn":
            await self._send(request.raw[: len(request.head) + len(request.body) // 2])
            return False
        if fault in {"late", "hung"}:
            if fault == "late" and plan:
                plan.keep(lambda: self._forward(request))
            await reader.read()  # until the client gives up
            return False
        if fault in REFUSALS:
            writer.write(_to(request, REFUSALS[fault]))
            await writer.drain()
            return True
        reply = await self._carry_out(fault, request)
        if fault == "slow":
            await asyncio.sleep(SLOW)
        if fault == "unheard":
            return False
        if fault == "cut":
            writer.write(reply.raw[: len(reply.head) + len(reply.body) // 2])
            await writer.drain()
            return False
        if fault == "trickling":
            await self._trickle(reply, writer)
            return False
        writer.write(self._heard(fault, reply))
        await writer.drain()
        return True

    async def _trickle(self, reply: Message, writer: asyncio.StreamWriter) -> None:
        for byte in reply.raw:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(PACE)

    async def _carry_out(self, fault: str, request: Message) -> Message:
        """The server's reply to a request, or to what a fault makes of the request."""
        if fault == "spoiled" and request.body:
            request = request.flipped(self._bit(8 * len(request.body)))
        if fault == "unranged":
            request = request.without(b"range")
        reply = await self._forward(request)
        if fault == "twice":
            await self._forward(request)
        return reply.redated(self.ahead) if self.ahead else reply

    def _heard(self, fault: str, reply: Message) -> bytes:
        """What a client receives instead of a reply."""
        if fault == "corrupt" and reply.body:
            reply = reply.flipped(self._bit(8 * len(reply.body)))
        if fault in LISTINGS:
            reply = LISTINGS[fault](reply)
        return ANSWERS.get(fault, reply.raw)

    async def _forward(self, request: Message) -> Message:
        """Sends a request to the server on a new connection."""
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


@asynccontextmanager
async def s3_proxy(port: int, name: Callable[[str], tuple[str, str]]) -> AsyncIterator[S3Proxy]:
    """A proxy in front of the S3 server on a loopback port."""
    async with listening(S3Proxy(port, name), LIMIT) as proxy:
        yield proxy
