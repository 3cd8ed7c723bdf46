"""A connection without a socket: bytes go in, in any pieces, and what the server does comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.transport.call import Call
from holdfast.transport.handlers import Bidirectional, Handler
from holdfast.transport.limits import Limits
from holdfast.transport.protocol import ServerProtocol
from holdfast.transport.server import Server
from holdfast.transport.status import Status

from .conversations import PATH
from .raw_client import Frame, Kind, parsed

TURNS = 30
"""Turns of the loop after which everything that can happen without time has happened."""


class PipeTransport(asyncio.Transport):
    """What asyncio's transports do, as far as a server notices."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True
        self.closing = False
        self.lost: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keeps what is written."""
        assert not self.closing
        self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Keeps what is written."""
        for data in list_of_data:
            self.write(data)

    def pause_reading(self) -> None:
        """No bytes may come now."""
        self.reading = False

    def resume_reading(self) -> None:
        """Bytes may come again."""
        self.reading = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closing

    def close(self) -> None:
        """Says that the connection is lost, soon."""
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.lost, None)

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Where the client is."""
        return ("127.0.0.1", 5) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""

    def get_write_buffer_size(self) -> int:
        """Nothing is ever buffered."""
        return 0


@dataclass
class Received:
    """What one call's handler has seen."""

    metadata: tuple[tuple[str, str | bytes], ...]
    messages: list[bytes] = field(default_factory=list)
    ended: bool = False
    """Whether the client's side has ended."""
    cut: bool = False
    """Whether the handler was cancelled or told that nothing more can come."""


class Pipe:
    """A server, and one client's connection to it; to be made in a loop."""

    def __init__(self, limits: Limits, handlers: Mapping[str, Handler]) -> None:
        self.calls: list[Received] = []
        self.failures: list[BaseException] = []
        self.server = Server(
            {PATH: Bidirectional(self._collect), **handlers},
            limits,
            clock=asyncio.get_running_loop().time,
            spread=lambda low, _: low,
            unexpected=lambda _, error: self.failures.append(error),
        )
        self.transport = PipeTransport()
        self._protocol = ServerProtocol(self.server._shared)
        self.transport.lost = self._protocol.connection_lost
        self._protocol.connection_made(self.transport)
        self.frames: list[Frame] = []
        """All that the server has sent."""

    async def _collect(self, call: Call) -> None:
        """Receives everything, and never answers."""
        received = Received(tuple(call.metadata))
        self.calls.append(received)
        try:
            while (message := await call.receive()) is not None:
                received.messages.append(bytes(message))
            received.ended = True
            await asyncio.Event().wait()
        except (asyncio.CancelledError, Status):
            received.ended, received.cut = False, True
            raise

    async def feed(self, data: bytes) -> bool:
        """Has the server receive bytes; whether it wants to receive more."""
        view = memoryview(data)
        while view and not self.transport.closing:
            if not self.transport.reading:
                await self.settle()
                if not self.transport.reading:
                    return False  # the connection has failed
                continue
            buffer = self._protocol.get_buffer(-1)
            size = min(len(view), len(buffer))
            buffer[:size] = view[:size]
            self._protocol.buffer_updated(size)
            view = view[size:]
        return not self.transport.closing

    async def settle(self) -> None:
        """Lets everything happen that needs no time, and reads the frames that were sent."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self._parse()

    def _parse(self) -> None:
        sent, left = parsed(bytes(self.transport.written))
        assert not left, "half a frame was sent"
        self.frames += sent
        self.transport.written.clear()

    def reset_streams(self) -> set[int]:
        """Streams that the server has reset because something was wrong."""
        return {one.stream for one in self.frames if one.kind == Kind.RST_STREAM and one.code}

    @property
    def failed(self) -> bool:
        """Whether the server has ended the connection."""
        return any(one.kind == Kind.GOAWAY for one in self.frames)

    async def close(self) -> None:
        """Ends the connection; no handler remains."""
        self.transport.close()
        await self.settle()
        assert self.server.counts.streams == 0
        assert self.server._serving.tasks == set()
