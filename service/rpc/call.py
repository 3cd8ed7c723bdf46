"""One RPC as the handlers see it, whichever transport carries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from holdfast.transport.peers import Peer
from holdfast.transport.status import Code

Buffer = bytes | bytearray | memoryview
Metadata = Sequence[tuple[str, str | bytes]]
OnMessage = Callable[[bytes | bytearray], Sequence[Buffer] | None]

UNTOLD: Final = -1
"""The length of a message that the transport doesn't tell beforehand."""


class Call(Protocol):
    """The metadata of an RPC, and its messages in both directions.

    Attributes:
        metadata: what the client sent with the call.
        peer: who has sent it.
        on_message: may answer a message without waking the handler that waits for one; returns
            None if the handler has to do it. A transport may never call it.
        attachment: what is known of the call so far, see `accounts`; None if nobody asks.
    """

    attachment: Any

    metadata: Metadata
    peer: Peer
    on_message: OnMessage | None

    @property
    def ended(self) -> Code | None:
        """The status by which the call has ended although its handler hasn't, if it has."""
        ...

    def time_remaining(self) -> float | None:
        """Returns the seconds until the client's deadline; None if it has none."""
        ...

    def takes(self, size: int) -> bool:
        """Whether a message of so many bytes could be sent without waiting, as far as is known."""
        ...

    async def announced(self) -> int | None:
        """Returns the bytes of the client's next message; None at the end of what it sends.

        The client can't send much of the message before `receive` is called. `UNTOLD` if the
        transport doesn't know: then it returns at once.
        """
        ...

    @property
    def arrived(self) -> int:
        """Bytes of the client's next message that are here, if the transport tells of lengths."""
        ...

    def interrupt(self, error: Exception) -> None:
        """Has `announced`, `open` or `receive` raise an error, if it waits for the client."""
        ...

    async def open(self, most: int) -> None:
        """Lets the first `most` bytes of an announced message come, and waits for them."""
        ...

    async def receive(self) -> bytes | bytearray | None:
        """Returns the client's next message; None at the end of what it sends."""
        ...

    def send(self, *pieces: Buffer) -> Awaitable[None]:
        """Sends one message, made of pieces; returns when they are no longer needed."""
        ...


async def heard(call: Call) -> None:
    """Waits until the client has begun to send, and has no more of its message come than that."""
    if await call.announced() == UNTOLD:
        await call.receive()
