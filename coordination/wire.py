"""A connected socket to Redis: taken over from redis-py once it has connected and authenticated.

redis-py resolves names, speaks TLS, authenticates and chooses the database; from then on its way of
one request and one reply at a time isn't used any more. This is the one place that knows where
redis-py keeps its socket.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from hiredis import Reader, pack_command
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from holdfast.errors import because

MORE: Final = object()
"""What a reader returns if a reply isn't complete yet."""
GONE: Final = "Redis has closed the connection"


class Owner(Protocol):
    """Whose socket it is."""

    def received(self, wire: Wire, reader: Reader) -> None:
        """Redis has sent something: the reader has it."""

    def writable(self, wire: Wire) -> None:
        """The socket takes bytes again."""

    def lost(self, wire: Wire, error: Exception) -> None:
        """The socket was closed."""


class Wire(asyncio.Protocol):
    """One connected socket, of one line.

    Attributes:
        paused: whether the socket takes no more bytes for now.
    """

    def __init__(self, line: Owner, reader: Reader, writer: asyncio.StreamWriter) -> None:
        """Takes over a transport.

        Args:
            line: gets the replies.
            reader: makes replies of bytes.
            writer: its owner so far; it is kept, because asyncio closes what a forgotten one has.
        """
        self._line = line
        self._reader = reader
        self._writer = writer
        self._transport: asyncio.WriteTransport = writer.transport
        self.paused = False
        self._transport.set_protocol(self)

    def write(self, packed: bytes) -> None:
        """Sends bytes, now or as soon as the socket takes them."""
        self._transport.write(packed)

    def abort(self) -> None:
        """Closes the socket at once."""
        self._transport.abort()

    # -- what the transport calls

    def data_received(self, data: bytes) -> None:
        """Redis has sent something."""
        self._reader.feed(data)
        self._line.received(self, self._reader)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket was closed, by either side."""
        text = f"{GONE} ({because(error)})" if error else GONE
        self._line.lost(self, redis_errors.ConnectionError(text))

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self.paused = True

    def resume_writing(self) -> None:
        """It takes more again."""
        self.paused = False
        self._line.writable(self)


def next_reply(reader: Reader) -> Any:  # noqa: ANN401 -- whatever Redis replies
    """Returns the next reply; if none is complete, what the reader returns then.

    Raises:
        InvalidResponse: what Redis has sent is no reply.
    """
    try:
        return reader.gets()
    except TypeError as error:  # a map whose keys are lists, which Python can't hash
        text = f"a reply that can't be read: {because(error)}"
        raise redis_errors.InvalidResponse(text) from error


Word = str | bytes | int | float
"""A word of a request."""


def packed(*words: Word) -> bytes:
    """A request as it is sent."""
    pack: Any = pack_command  # its types allow one word only
    try:
        raw: bytes = pack(words)
    except TypeError:  # it takes no subclasses, such as a size that was parsed from a setting
        raw = pack(tuple(map(_plain, words)))
    return raw


def _plain(word: Word) -> Word:
    """A word of one of the types that are packed; anything else remains as it is."""
    if isinstance(word, bool):
        return word  # refused, as by redis-py
    if isinstance(word, int):
        return int(word)
    return str(word) if isinstance(word, str) else word


def take_over(connection: AbstractConnection, line: Owner) -> Wire:
    """Takes the socket of a connection that has just been made; redis-py doesn't know it any more.

    Raises:
        ConnectionError: it was closed meanwhile.
    """
    of: Any = connection
    writer, received = of._writer, of._reader  # noqa: SLF001 -- see above
    of._writer = of._reader = None  # noqa: SLF001
    if writer is None or writer.transport.is_closing() or received.at_eof():
        raise redis_errors.ConnectionError(GONE)
    reader = Reader(
        protocolError=redis_errors.InvalidResponse,
        # A cluster's connections know more kinds of errors than others.
        replyError=of._parser.parse_error,  # noqa: SLF001
        notEnoughData=MORE,
    )
    return Wire(line, reader, writer)
