"""HTTP messages to and from S3 as a proxy sees them: read completely, and changed on the way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

ENTRY: Final = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
DATE: Final = re.compile(rb"(?im)^(date: *)([^\r\n]+)")
FRAMING: Final = re.compile(rb"(?im)^(content-length|transfer-encoding):[^\r\n]*\r\n")


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a reply: its first line, its headers as they came, its body."""

    first: str
    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """The bytes on the wire."""
        return self.head + self.body

    def flipped(self, bit: int) -> Message:
        """A copy with one bit of the body flipped; an empty body stays as it is."""
        if not self.body:
            return self
        at = bit // 8
        byte = bytes([self.body[at] ^ 1 << bit % 8])
        return replace(self, body=self.body[:at] + byte + self.body[at + 1 :])

    def without(self, name: bytes) -> Message:
        """A copy without a header."""
        return replace(self, head=re.sub(rb"(?im)^%b:.*\r\n" % re.escape(name), b"", self.head))

    def redated(self, seconds: float) -> Message:
        """A copy whose Date header is that much later; without a Date it stays as it is."""

        def later(found: re.Match[bytes]) -> bytes:
            date = parsedate_to_datetime(found[2].decode()) + timedelta(seconds=seconds)
            return found[1] + format_datetime(date, usegmt=True).encode()

        return replace(self, head=DATE.sub(later, self.head))


def _relisted(message: Message, entries: Callable[[list[bytes]], list[bytes]]) -> Message:
    """A page of a listing with other entries, marked as the last one."""
    body = _dechunked(message) if b"chunked" in message.head.lower() else message.body
    found = ENTRY.findall(body)
    if not found:
        return message
    before, after = body.partition(found[0])[0], body.rpartition(found[-1])[2]
    body = before + b"".join(entries(found)) + after
    body = body.replace(b"<IsTruncated>true<", b"<IsTruncated>false<")
    body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", body)
    head = FRAMING.sub(b"", message.head).removesuffix(b"\r\n")
    return Message(message.first, head + b"Content-Length: %d\r\n\r\n" % len(body), body)


LISTINGS: Final[Mapping[str, Callable[[Message], Message]]] = {
    "emptied": lambda page: _relisted(page, lambda _: []),
    "halved": lambda page: _relisted(page, lambda found: found[: len(found) // 2]),
    "shuffled": lambda page: _relisted(page, lambda found: found[::-1]),
}
"""What can be wrong with a page of a listing whose reply looks fine."""


async def read_message(
    reader: asyncio.StreamReader, invites: asyncio.StreamWriter | None, of: str = ""
) -> Message | None:
    """Reads one request or reply with all of its body; None if the connection ends before it.

    Args:
        reader: where it comes from.
        invites: is told to continue if a client waits for that before it sends a body.
        of: the method of the request if this is a reply: a HEAD reply has no body.
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


def _dechunked(message: Message) -> bytes:
    """The bytes of a body that was sent in chunks."""
    body, rest = bytearray(), message.body
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return bytes(body)
        body += rest[:size]
        rest = rest[size + 2 :]
