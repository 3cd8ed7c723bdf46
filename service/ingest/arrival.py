"""A message on its way from a client, and how long others wait for the room that it has.

A client may send as slowly as it likes while nobody waits. If others do, a message that stands
still, or comes too slowly, ends its stream, and the client continues later.

If this process stood still itself (its machine was suspended), bytes may be waiting that it hasn't
read, and the client had no chance to send more: after a pause in looking it has another moment.
"""

from __future__ import annotations

from typing import Final, Protocol

from holdfast.coordination.leases import RESUME
from holdfast.errors import Unavailable

PATIENCE: Final = 10.0
"""Seconds without a byte of a message that has begun after which its stream ends, if others wait:
longer than a client's pauses, and than a lost packet is sent again."""
SLOWEST: Final = 64 * 2**10
"""Bytes per second that a client must send of a message, beyond the first `PATIENCE`, if others
wait: a byte now and then must not keep them waiting for ever."""

MOMENT: Final = 1.0
"""Seconds within which bytes are read that have come while nobody looked: the loop has many turns
in it."""


class MessageSource(Protocol):
    """Who sends the messages of one stream."""

    @property
    def arrived(self) -> int:
        """Bytes that have arrived of the message that comes now."""

    def interrupt(self, error: Exception) -> None:
        """Ends the waiting for that message with an error."""


class Arrival:
    """One message that it is the client's turn to send."""

    __slots__ = ("_arrived", "_client", "_looked", "_moved", "_since")

    def __init__(self, client: MessageSource, now: float) -> None:
        """Begins the client's turn.

        Args:
            client: who sends it.
            now: when that is, in s.
        """
        self._client = client
        self._since = self._moved = self._looked = now
        self._arrived = client.arrived

    def due(self, now: float) -> float:
        """When others need not wait for it any more, in s, as far as is known now."""
        arrived = self._client.arrived
        if arrived != self._arrived:
            self._arrived, self._moved = arrived, now
        if now - self._looked > PATIENCE + MOMENT:
            anew = now + MOMENT - PATIENCE
            self._moved = max(self._moved, anew)
            self._since = max(self._since, anew - arrived / SLOWEST)
        self._looked = now
        return PATIENCE + min(self._moved, self._since + arrived / SLOWEST)

    def give_up(self) -> None:
        """Ends the waiting for it, and so its stream."""
        self._client.interrupt(
            Unavailable(
                "this stream's message has stopped coming, or comes too slowly, while others wait "
                f"for its room; {RESUME}"
            )
        )
