"""One connection to the HTTP port, and how long each thing may take there.

    the request's head: 10 s → the answer: 90 s → all bytes read, and another request: 60 s → …

Whoever is late at one of these is cut off: a client that is silent, one that sends a byte from time
to time, and one that doesn't read. No answer is so long that an honest client needs more.

A client that sends requests without waiting for answers could be answered for ever, so none of
these is its excuse if others need its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from holdfast.service.web.cpu_share import CpuShare
from holdfast.transport.peers import peer_of

HEAD: Final = 10.0
"""Seconds for the head of a request, from the connection's or its own first byte on."""
ANSWER: Final = 90.0
"""Seconds for the answer: more than the longest profile takes."""
KEPT: Final = 60.0
"""Seconds from an answer to the next request: scrapers come every 15 to 60 s."""


class HttpConnection(H11Protocol):
    """A connection of uvicorn's that knows its peer, and when it must have moved on."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        share: CpuShare,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._clock = clock
        self._share = share
        self._between = False
        self.gone: Callable[[], None] = _ignored
        """Called once the connection is lost."""
        self.made = False
        """Whether it is ready for requests; with TLS, once the client has shown a certificate."""
        self.waiting = True
        """Whether a request is awaited, and not answered."""
        self.hurried = False
        """Whether the client has sent more before it had its answer."""
        self.since = clock()
        """When the client last had all answers; before that, when it came."""
        self.deadline = self.since + HEAD
        """When the connection ends unless it has moved on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learns who the client is; each request's `state` has it."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.made = True
        self.app_state["peer"] = peer_of(transport)

    def data_received(self, data: bytes) -> None:
        """Reads what was received."""
        self._share.rest()
        self.hurried = self.hurried or not self.waiting
        if self._between:
            self._between = False
            self.deadline = min(self.deadline, self._clock() + HEAD)
        super().data_received(data)

    def handle_events(self) -> None:
        """Begins to answer a request that is complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self.waiting, self._between = False, False
            self.hurried = bool(self.conn.trailing_data[0])
            self.deadline = self._clock() + ANSWER

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        self._share.rest()
        now = self._clock()
        self.waiting = self._between = True
        if not self.hurried:
            self.since = now
        self.deadline = now + KEPT
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what isn't HTTP; a request whose rest it is gets no other answer."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what is under way."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.gone()

    def end(self) -> None:
        """Closes the connection, which was made, without a word."""
        self.transport.abort()


def _ignored() -> None:
    pass
