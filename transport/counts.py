"""What a server has done: plain numbers, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Refusal(StrEnum):
    """Why a stream, a connection or a message was refused, or a connection ended by the server."""

    CONNECTIONS = "connections"
    """A connection beyond the most."""
    DESCRIPTORS = "descriptors"
    """The process had no file descriptor left, so that connections had to wait."""
    HANDSHAKES = "handshakes"
    """TLS failed, or the client chose another protocol than HTTP/2."""
    PROTOCOL = "protocol"
    """A connection broke the rules of HTTP/2, or speaks something else."""
    MALFORMED = "malformed"
    """A stream broke the rules."""
    HEADERS = "headers"
    """A request had more metadata than is allowed."""
    HEADER_BLOCKS = "header_blocks"
    """A header block grew without end."""
    RESETS = "resets"
    """A flood of streams that were reset."""
    PINGS = "pings"
    """A flood of PINGs."""
    SETTINGS = "settings"
    """A flood of SETTINGS."""
    USELESS_FRAMES = "useless_frames"
    """A flood of frames that bring nothing."""
    STREAMS = "streams"
    """A stream beyond the most of its connection."""
    DRAINING = "draining"
    """A stream that was opened after the last GOAWAY."""
    MESSAGES = "messages"
    """A message was larger than is allowed."""
    REQUESTS = "requests"
    """Too many large requests were half received."""
    LATE = "late"
    """A handshake, a frame, a message or the end of a drained connection didn't come in time."""
    SILENT = "silent"
    """A client didn't answer PING."""
    UNREAD = "unread"
    """A client didn't read what it was sent."""
    FAILED = "failed"
    """The server itself failed."""


@dataclass(slots=True)
class Counts:
    """Counts since the server was created, but `connections` and `streams`, which are current."""

    connections: int = 0
    """Connections that are open."""
    streams: int = 0
    """Streams that are open."""
    accepted: int = 0
    """Connections."""
    calls: int = 0
    """RPCs that began."""
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    """Bytes received on connections, with frames' headers, without TLS."""
    bytes_out: int = 0
    goaways: int = 0
    """Connections that were told to end, drained ones included."""
    drains: int = 0
    """Connections that were told to end once their streams have: they were idle or old, or the
    server was leaving."""
    refused: Counter[Refusal] = field(default_factory=Counter)
    """What was refused or ended by the server, by reason."""
