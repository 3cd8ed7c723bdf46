"""What Reads have handed to gRPC and their clients haven't taken: a bound on it, of all Reads.

gRPC keeps a message until its client makes room for it, and our own bytes of it beside its own.
A client that stops reading keeps that for as long as it likes, and nobody can tell it from one
that is slow; so nobody ever waits here for another one's message. Instead messages become smaller
the more is handed over: a few fast readers get messages of 1 MiB, hundreds that stand still keep
little more than `SIZE` together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SIZE: Final = 32 * 2**20
"""Bytes that are handed over before all further messages are of the least size."""
LARGEST: Final = 2**20
"""Bytes of a Read message at most."""
LEAST: Final = 32 * 2**10
"""Bytes of a message that a Read may always hand over: what containerd asks for at once."""
SHARE: Final = 4
"""A message takes no more than this part of what is left: the ones that follow get some, too."""


class Outflow:
    """How much is handed over.

    Attributes:
        handed: bytes of messages that gRPC has and that no client has made room for.
    """

    def __init__(self, size: int = SIZE) -> None:
        """Nothing is handed over.

        Args:
            size: bytes beyond which messages are of the least size.
        """
        self._size = size
        self.handed = 0

    def message(self) -> int:
        """Bytes of the next message, at most."""
        share = (self._size - self.handed) // SHARE
        return LARGEST if share >= LARGEST else max(LEAST, share - share % LEAST)

    @contextmanager
    def handing(self, size: int) -> Iterator[None]:
        """Counts a message of `size` bytes for as long as gRPC has it."""
        self.handed += size
        try:
            yield
        finally:
            self.handed -= size
