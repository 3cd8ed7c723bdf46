"""What a server has done: plain numbers, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


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
    """Connections that were told to end."""
    refused: Counter[str] = field(default_factory=Counter)
    """Streams and connections that were refused or ended by the server, by reason."""
