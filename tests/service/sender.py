"""Who sends the messages of one stream, as a test says."""

from __future__ import annotations


class Sender:
    """A client whose messages' lengths are told."""

    def __init__(self) -> None:
        self.arrived = 0
        self.errors: list[Exception] = []

    def interrupt(self, error: Exception) -> None:
        """Keeps what its stream is told."""
        self.errors.append(error)
