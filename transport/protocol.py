"""Between asyncio's transport and a connection: bytes in and out, time, and the end.

All connections of a loop read into one buffer: a read and its frames are over before the next one
begins. Only what is left of an incomplete frame is kept by the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

from holdfast.transport import frames
from holdfast.transport.connection import Connection
from holdfast.transport.counts import Counts, Refusal
from holdfast.transport.errors import ConnectionFailedError, ErrorCode
from holdfast.transport.guard import Guard
from holdfast.transport.incoming import FrameReader
from holdfast.transport.lifetime import Lifetime
from holdfast.transport.limits import Limits
from holdfast.transport.outgoing import Outgoing
from holdfast.transport.peers import peer_of
from holdfast.transport.reading import AT_ONCE, Turns
from holdfast.transport.serving import Serving
from holdfast.transport.tls import PROTOCOL

BUFFER_SIZE: Final = 2**17
"""Bytes that are read at once: one connection's turn."""
BLOCKS: Final = 2
"""How much longer than its fields a header block may be: fields that repeat names are shorter."""


class Shared:
    """What the connections of one server share."""

    __slots__ = (
        "clock",
        "connections",
        "counts",
        "draining",
        "limits",
        "loop",
        "now",
        "serving",
        "spread",
        "turns",
        "unexpected",
        "view",
    )

    def __init__(
        self,
        serving: Serving,
        limits: Limits,
        counts: Counts,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        now: Callable[[], float],
        spread: Callable[[float, float], float],
        unexpected: Callable[[str, BaseException], None],
    ) -> None:
        self.serving = serving
        self.limits = limits
        self.counts = counts
        self.loop = loop
        self.clock = clock
        self.now = now
        self.spread = spread
        self.unexpected = unexpected
        self.view = memoryview(bytearray(BUFFER_SIZE))
        """Where bytes are received."""
        self.turns = Turns(loop)
        """The connections whose frames are received and not yet read."""
        self.draining = False
        """Whether the server is leaving: clients that still come are told so."""
        self.connections: set[ServerProtocol] = set()
        """The connections that are open."""


class ServerProtocol(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, shared: Shared) -> None:
        """Begins before the connection is made."""
        self._shared = shared
        self._kept = b""
        self._preface = frames.PREFACE
        self._offered = 0
        self._over = False
        self.heard = self.since = shared.clock()
        """When the last bytes came, and when the connection was made, in s."""
        self._within_since: float | None = None
        self.closed: asyncio.Future[None] = shared.loop.create_future()
        """Done once the connection is gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the client."""
        shared = self._shared
        self._transport = cast("asyncio.Transport", transport)
        guard, peer = Guard(shared.limits), peer_of(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._out = Outgoing(
            self._transport,
            shared.loop,
            guard,
            shared.counts,
            encrypted=tls is not None,
            most_waiting=shared.limits.write_buffer,
            broken=self._client_does_not_read,
        )
        self.connection = Connection(
            self._out,
            shared.serving,
            peer,
            guard=guard,
            limits=shared.limits,
            counts=shared.counts,
            clock=shared.clock,
            drained=self._finish,
        )
        self._reader = FrameReader(self.connection, BLOCKS * shared.limits.max_header_list)
        valid = peer.certificate.not_after - shared.now() if peer.certificate else float("inf")
        self._lifetime = Lifetime(
            self, shared.limits, shared.loop, shared.clock, shared.spread, valid=valid
        )
        # The kernel's buffer is enough: what it doesn't take waits at its stream, in turns.
        self._transport.set_write_buffer_limits(high=1, low=0)
        shared.counts.accepted += 1
        shared.counts.connections += 1
        shared.connections.add(self)
        if valid <= 0 or (tls is not None and tls.selected_alpn_protocol() != PROTOCOL):
            shared.counts.refused[Refusal.HANDSHAKES] += 1
            self.abort()
        else:
            self.connection.greet()
            if shared.draining:
                self.drain()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all streams: their handlers are cancelled."""
        del exc
        self._over = True
        self._lifetime.end()
        self._shared.connections.discard(self)
        self._shared.counts.connections -= 1
        self.connection.lost()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The kernel's buffer is full."""
        self._out.pause()

    def resume_writing(self) -> None:
        """The kernel's buffer has taken everything."""
        self._out.unpause()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Returns where to receive: behind what is left of an incomplete frame."""
        del sizehint
        view, kept = self._shared.view, self._kept
        if kept:
            size = len(kept)
            view[:size] = kept
            view = view[size:]
        self._offered = len(view)
        return view

    def buffer_updated(self, nbytes: int) -> None:
        """Reads what was received."""
        if self._over:
            return
        self.heard = self._shared.clock()
        self._shared.counts.bytes_in += nbytes
        self._read(len(self._kept) + nbytes, AT_ONCE)
        if self._reader.yielded:
            self._pause()
            self._shared.turns.wait(self)
        elif nbytes == self._offered and self._pause():
            self._shared.loop.call_soon(self._resume)

    @property
    def within_since(self) -> float | None:
        """Since when the client owes us the rest of a frame or of a header block, in s."""
        return None if self._reader.yielded else self._within_since

    def _read(self, end: int, most: int) -> None:
        view, out, used = self._shared.view, self._out, 0
        out.corked = True
        try:
            used = self._reader.read(view, end, most) if not self._preface else self._greeting(end)
            self._kept = bytes(view[used:end]) if used < end else b""
        except ConnectionFailedError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 -- one client's connection ends, not the server
            self._shared.unexpected("", error)
            self.fail(
                ConnectionFailedError(ErrorCode.INTERNAL_ERROR, "internal error", Refusal.FAILED)
            )
        finally:
            out.corked = False
        out.flush()
        within = self._reader.within
        if not self._kept and not within:
            self._within_since = None
        elif self._within_since is None or (used and not within):
            self._within_since = self.heard

    def _greeting(self, end: int) -> int:
        view, preface = self._shared.view, self._preface
        size = min(len(preface), end)
        if view[:size] != preface[:size]:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "this isn't HTTP/2")
        self._preface = preface[size:]
        if size == end:
            return end
        return size + self._reader.read(view[size:], end - size, AT_ONCE)

    def _pause(self) -> bool:
        """Receives nothing until others had a turn; returns False if nothing more is received."""
        if self._over or self._transport.is_closing():
            return False
        self._transport.pause_reading()
        return True

    def _resume(self) -> None:
        if not self._over and not self._transport.is_closing():
            self._transport.resume_reading()

    def read_on(self, most: int) -> None:
        """Reads so many frames at most of what was received."""
        if self._over or self._transport.is_closing():
            return
        size = len(self._kept)
        self._shared.view[:size] = self._kept
        self._read(size, most)
        if self._reader.yielded:
            self._shared.turns.wait(self)
        else:
            self._resume()

    def drain(self) -> None:
        """Tells the client to open no more streams; the connection ends with the last of them."""
        self._lifetime.drain()

    def fail(self, error: ConnectionFailedError) -> None:
        """Ends the connection because of what the client did; GOAWAY says what."""
        if self._over:
            return
        self._over = True
        self._shared.counts.refused[error.refusal] += 1
        self._shared.counts.goaways += 1
        self.connection.lost()
        self._out.write(frames.goaway(self.connection.last, error.code, error.reason))
        self._out.flush()
        if not self._transport.is_closing():
            # If it were closed with unread bytes, the kernel could discard the GOAWAY.
            self._transport.pause_reading()
            self._shared.loop.call_later(self._shared.limits.farewell, self.abort)

    def _finish(self) -> None:
        """Ends a connection whose drain is over: the client closes it, or we do a little later.

        Calls that the client began before it saw the last GOAWAY may be on their way. If they came
        to a closed socket, the kernel would reset the connection, and the client could lose what it
        hasn't read: that GOAWAY, and answers.
        """
        self._out.flush()
        self._shared.loop.call_later(self._shared.limits.farewell, self._transport.close)

    def give_up(self, refusal: Refusal) -> None:
        """Closes the connection without a word to a client that wouldn't read it."""
        self._shared.counts.refused[refusal] += 1
        self.abort()

    def _client_does_not_read(self) -> None:
        self.give_up(Refusal.UNREAD)

    def abort(self) -> None:
        """Closes the connection without a word."""
        self._over = True
        self._transport.abort()

    @property
    def greeted(self) -> bool:
        """Whether the client has sent its preface and its SETTINGS."""
        return self._reader.begun
