"""The client's messages of one RPC, as its handler waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from holdfast.transport.outgoing import Buffer
from holdfast.transport.status import Code, Status
from holdfast.transport.stream import Stream


class Reception:
    """The messages that a client sends on one stream; one coroutine at a time may wait for them."""

    __slots__ = ("_inbox", "_receiving", "_stream", "_told", "_wanted", "on_message", "over")

    def __init__(self, stream: Stream) -> None:
        """Begins without messages; `stream` carries them."""
        self._stream = stream
        self._inbox = stream.inbox
        self.on_message: Callable[[bytes | bytearray], Sequence[Buffer] | None] | None = None
        """May answer a message without waking the handler, if that waits for the next one.

        It is called with a whole message that `announced` hasn't reported, while no earlier message
        is being sent. The pieces that it returns are sent as the answer; if it returns None, the
        handler gets the message. What it raises, the handler's `announced` or `receive` raises.
        """
        self.over = False
        """Whether nothing more can be sent or received."""
        self._receiving: asyncio.Future[None] | None = None
        self._wanted = 0  # bytes of the next message that are awaited; 0: its length
        self._told = False

    async def announced(self) -> int | None:
        """Waits until the length of the next message is known, and returns it, in bytes.

        The client can't send more of it than the stream's first window before `receive` is called.
        None at the end of what the client sends.

        Raises:
            Status: the message isn't acceptable, or the call is over.
        """
        inbox = self._inbox
        while (length := inbox.length) is None:
            if self._ends():
                return None
            await self._wait(0)
        self._told = True
        return length

    async def open(self, most: int) -> None:
        """Lets the first `most` bytes of the next message come, and waits until they are here.

        Its length must have been `announced`. More than that, the client can't send than a first
        window. `receive` lets the rest come.

        Raises:
            Status: the message isn't acceptable, or the call is over.
        """
        self._stream.open(most)
        while not self._inbox.has(most) and not self._ends():
            await self._wait(most)

    @property
    def arrived(self) -> int:
        """Bytes of the client's next message that are here."""
        return self._inbox.arrived

    def interrupt(self, error: Exception) -> None:
        """Has `announced`, `open` or `receive` raise an error, if one of them waits."""
        if self._receiving is not None and not self._receiving.done():
            self._receiving.set_exception(error)

    async def receive(self) -> bytes | bytearray | None:
        """Waits for the next message as a whole, and returns it.

        None at the end of what the client sends.

        Raises:
            Status: the message isn't acceptable, or the call is over.
        """
        inbox = self._inbox
        while not inbox.complete:
            if self._ends():
                return None
            self._stream.open(inbox.limit)
            if not inbox.complete:
                await self._wait(inbox.limit)
        message = inbox.take()
        self._told = False
        self._stream.credit()
        return message

    def _ends(self) -> bool:
        self._check_over()
        if not self._inbox.ended:
            return False
        if self._inbox.cut:
            raise Status(Code.INVALID_ARGUMENT, "the client's last message is incomplete")
        return True

    def _check_over(self) -> None:
        if self.over:
            raise call_is_over()

    async def _wait(self, wanted: int) -> None:
        if self._receiving is not None:
            raise RuntimeError("two coroutines wait for messages of one call")
        self._wanted = wanted
        self._receiving = asyncio.get_running_loop().create_future()
        try:
            await self._receiving
        finally:
            self._receiving = None

    # The transport's side.

    def feed(self, piece: memoryview, *, last: bool) -> None:
        """Takes bytes that the client sent; `last` if nothing follows."""
        inbox = self._inbox
        inbox.ended = last
        waiter = self._receiving
        if (not inbox.feed(piece) and not last) or waiter is None or waiter.done():
            return
        try:
            if self._awaited_is_here():
                waiter.set_result(None)
        except Exception as error:  # noqa: BLE001 -- for the handler to raise
            waiter.set_exception(error)

    def _awaited_is_here(self) -> bool:
        inbox = self._inbox
        while inbox.complete:
            if self._told or self.on_message is None or self._stream.busy:
                return True
            message = inbox.take()
            reply = self.on_message(message)
            if reply is None:
                inbox.put_back(message)
                return True
            self._stream.send(reply)
            self._stream.credit()
        if inbox.ended:
            return True
        if not self._wanted:
            return inbox.length is not None
        self._stream.open(self._wanted)
        return inbox.has(self._wanted)


def call_is_over() -> Status:
    """The error of whoever still waits for something in a call that has ended."""
    return Status(Code.CANCELLED, "the call is over")
