"""The bytes that may have to be sent again: in a bounded buffer, or in a file."""

from __future__ import annotations

from collections import deque
from typing import BinaryIO, Protocol

from holdfast.errors import FailedPrecondition


class Source(Protocol):
    """Bytes from offset `start` to offset `end` of a blob that is being written."""

    @property
    def start(self) -> int:
        """The offset of the first byte that is still available."""

    @property
    def end(self) -> int:
        """The offset after the last byte."""

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`; at least one, unless it is the end."""


class ReplayBuffer:
    """The last bytes of a stream: `limit` of them or a little more."""

    def __init__(self, start: int, limit: int) -> None:
        self._pieces: deque[bytes] = deque()
        self._limit = limit
        self.start = start
        self.end = start

    def append(self, piece: bytes) -> None:
        """Adds a piece to be sent; drops the oldest pieces beyond the limit."""
        self._pieces.append(piece)
        self.end += len(piece)
        while len(self._pieces) > 1 and self.end - self.start - len(self._pieces[0]) >= self._limit:
            self.start += len(self._pieces.popleft())

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`, from a single piece."""
        # The piece to send is nearly always the last one.
        at = self.end
        for piece in reversed(self._pieces):
            at -= len(piece)
            if offset >= at:
                return piece[offset - at : offset - at + size]
        return b""


class FileSource:
    """A seekable file: every byte is available."""

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
                f"the source ended at byte {offset} of {self.end}: it was truncated while it "
                "was pushed; push it again"
            )
        return data
