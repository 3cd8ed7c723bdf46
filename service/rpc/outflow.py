"""Bounds the bytes, over all Reads, that the transport has and clients haven't received yet.

It keeps a message until its client makes room, and grpcio a copy as well. A client that stops
reading can occupy that memory for as long as it likes, and can't be distinguished from a slow one;
so no Read ever waits for another Read's client. Instead, the more bytes it has, the smaller the
next messages are: a few fast readers get messages of 1 MiB, while hundreds of readers that have
stopped occupy little more than `SIZE` together.
"""

from __future__ import annotations

from typing import Final

SIZE: Final = 32 * 2**20
"""Bytes that the transport may have before all further messages are of the smallest size."""
LARGEST: Final = 2**20
"""Largest Read message, in bytes."""
LEAST: Final = 32 * 2**10
"""Bytes of a message that a Read may always send: containerd asks for that much at
once. A Read of no more is answered without a task if its block is in memory."""
SHARE: Final = 4
"""A message uses at most one part in this many of what is left, so that later ones get some."""


class Outflow:
    """Counts the bytes that the transport has.

    Attributes:
        handed: bytes of messages that it has and whose clients haven't made room for them.
            Whoever hands a message over adds its size for as long as the transport has it.
    """

    def __init__(self, size: int = SIZE) -> None:
        """Begins with no bytes handed over.

        Args:
            size: bytes beyond which messages are of the smallest size.
        """
        self._size = size
        self.handed = 0

    def message(self) -> int:
        """Returns the largest size of the next message, in bytes."""
        share = (self._size - self.handed) // SHARE
        return LARGEST if share >= LARGEST else max(LEAST, share - share % LEAST)
