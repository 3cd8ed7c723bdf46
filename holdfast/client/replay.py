"""The bytes that may have to be sent again: a bounded buffer, or a file."""

from __future__ import annotations

from collections import deque
from typing import BinaryIO, Protocol

from holdfast.errors import FailedPrecondition


class Source(Protocol):
    """Bytes from offset `start` to offset `end` of a blob that is being written."""

    @property
    def start(self) -> int:
        """Offset of the first byte that is still at hand."""

    @property
    def end(self) -> int:
        """Offset after the last byte."""

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`, at least one unless it is the end."""


class ReplayBuffer:
    """The last bytes of a stream, `limit` of them or a little more."""

    def __init__(self, start: int, limit: int) -> None:
        self._pieces: deque[bytes] = deque()
        self._limit = limit
        self.start = start
        self.end = start

    def append(self, piece: bytes) -> None:
        """Adds what is to be sent; the oldest pieces beyond the limit go."""
        self._pieces.append(piece)
        self.end += len(piece)
        while len(self._pieces) > 1 and self.end - self.start - len(self._pieces[0]) >= self._limit:
            self.start += len(self._pieces.popleft())

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`, out of one piece."""
        # What is sent is nearly always the last piece.
        at = self.end
        for piece in reversed(self._pieces):
            at -= len(piece)
            if offset >= at:
                return piece[offset - at : offset - at + size]
        return b""


class FileSource:
    """A seekable file: every byte is at hand."""

    def __init__(self, file: BinaryIO, base: int, size: int) -> None:
        self._file = file
        self._base = base
        self.start = 0
        self.end = size

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`.

        Raises:
            FailedPrecondition: the file has become shorter.
        """
        self._file.seek(self._base + offset)
        data = self._file.read(min(size, self.end - offset))
        if not data and offset < self.end:
            raise FailedPrecondition(
                f"the source ended at byte {offset} of {self.end}: it was cut while being pushed"
            )
        return data
