"""A service without protobuf, which clients of all languages run the same cases against.

A message is the bytes that it is about. `Sleep` notes how its calls end, so that a test sees
what a client that leaves, or a deadline, does to the handler.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from holdfast.transport.call import Call
from holdfast.transport.handlers import Bidirectional, Handler, ServerStream, Unary
from holdfast.transport.status import Code, Status

SERVICE = "holdfast.test.Bytes"
PIECE = 2**20
"""Bytes of a message of a Read."""


class BytesService:
    """Echoes, counts and sleeps."""

    def __init__(self) -> None:
        self.ended: list[bytes] = []
        """What the calls of `Sleep` that were cancelled had been sent, in the order they ended."""
        self.waiting = 0
        """Handlers that wait for their client to leave."""

    def handlers(self) -> Mapping[str, Handler]:
        """The service's methods by path."""
        methods: dict[str, Handler] = {
            "Echo": Unary(self._echo),
            "Hot": Unary(self._echo, at_once=lambda request, _: request),
            "Read": ServerStream(self._read),
            "Write": Bidirectional(self._write),
            "Chat": Bidirectional(self._chat),
            "Deaf": Bidirectional(self._deaf),
            "Sleep": ServerStream(self._sleep),
            "Ended": Unary(self._ended),
        }
        return {f"/{SERVICE}/{name}": handler for name, handler in methods.items()}

    async def _echo(self, request: bytes, _: Call) -> bytes:
        return request

    async def _read(self, request: bytes, call: Call) -> None:
        """As many bytes as the request says; each message consists of its own number.

        The request's second number, if there is one, is the size of a message.
        """
        try:
            left, *rest = map(int, request.split())
        except ValueError:
            raise Status(Code.INVALID_ARGUMENT, "a Read is one number or two") from None
        if min(left, *rest, 1) < 1:
            raise Status(Code.INVALID_ARGUMENT, "the numbers of a Read are positive")
        number = 0
        while left:
            size = min(*rest, PIECE, left)
            await call.send(bytes([number % 256]) * size)
            left -= size
            number += 1

    async def _write(self, call: Call) -> None:
        """The digest of all that is sent, at the end."""
        digest = hashlib.sha256()
        while (message := await call.receive()) is not None:
            digest.update(message)
        await call.send(digest.hexdigest().encode())

    async def _chat(self, call: Call) -> None:
        """Each message comes back."""
        while (message := await call.receive()) is not None:
            await call.send(message)

    async def _deaf(self, _: Call) -> None:
        """It neither receives nor sends anything for as long as the client stays."""
        await self._wait()

    async def _sleep(self, request: bytes, call: Call) -> None:
        """One message, and then nothing for as long as the client stays."""
        await call.send(b"asleep")
        try:
            await self._wait()
        finally:
            self.ended.append(request)

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    async def _ended(self, _: bytes, __: Call) -> bytes:
        return b"\n".join(self.ended)


def content(size: int, piece: int = PIECE) -> str:
    """The SHA-256 of a Read of as many bytes, and of a Write of the same messages, in hex."""
    digest = hashlib.sha256()
    for number, at in enumerate(range(0, size, piece)):
        digest.update(bytes([number % 256]) * min(piece, size - at))
    return digest.hexdigest()
