"""The bytes of one write stream that its frontend could still lose: they may be sent again."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Final

from holdfast.service.agent.room import RoomShare
from holdfast.service.ingest.write_messages import Action, Message

PIECE: Final = 2**20
"""Bytes of a piece: those of small messages are joined until a piece has as many, so that they
cost little memory, and few messages when they are sent again."""


@dataclass(slots=True)
class _Piece:
    start: int
    data: bytes | bytearray

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Replay:
    """Bytes from offset `start` to offset `end` of a blob that is being written.

    Attributes:
        start: offset of the first byte that is kept.
        end: offset after the last byte that the client has sent.
        replaces: whether the bytes replace those that a frontend has of an earlier attempt.
    """

    def __init__(self, share: RoomShare) -> None:
        """Keeps nothing yet.

        Args:
            share: has the room of what is appended; it is released as bytes are dropped.
        """
        self._share = share
        self._pieces: deque[_Piece] = deque()
        self.start = self.end = 0
        self.replaces = False
        self._placed = False

    def accept(self, message: Message) -> bool:
        """Keeps a message's bytes; returns False if they don't follow those before.

        At offset 0 they replace what was sent before; a WRITE does so without bytes, too.
        """
        writes = message.size > 0 or message.action is Action.WRITE
        if writes and not message.offset and (self.end or not self._placed):
            self.replaces = True
            self.restart(0)
        elif writes:
            self.place(message.offset)
        if self.misplaces(message):
            return False
        self.append(memoryview(message.data)[message.begin :])
        return True

    def misplaces(self, message: Message) -> bool:
        """Whether a message that isn't kept yet is for another offset than that of the end."""
        positioned = message.size > 0 or message.action in {Action.WRITE, Action.COMMIT}
        return self._placed and positioned and message.offset not in {0, self.end}

    def place(self, offset: int) -> None:
        """Says where the first byte belongs, unless that is known."""
        if not self._placed:
            self.restart(offset)

    def restart(self, offset: int) -> None:
        """Drops all bytes; the next ones begin at an offset."""
        self._share.give_back(sum(len(piece.data) for piece in self._pieces))
        self._pieces.clear()
        self.start = self.end = offset
        self._placed = True

    def append(self, data: memoryview) -> None:
        """Keeps the next bytes."""
        size = len(data)
        if not size:
            return
        last = self._pieces[-1] if self._pieces else None
        if last and isinstance(last.data, bytearray) and len(last.data) + size <= PIECE:
            last.data += data
        elif size < PIECE // 4:
            self._pieces.append(_Piece(self.end, bytearray(data)))
        else:
            self._pieces.append(_Piece(self.end, bytes(data)))
        self.end += size

    def drop(self, offset: int) -> None:
        """Drops whole pieces before an offset: a frontend has made them durable."""
        freed = 0
        while self._pieces and self._pieces[0].end <= offset:
            freed += len(self._pieces.popleft().data)
        first = self._pieces[0].start if self._pieces else min(offset, self.end)
        self.start = max(self.start, first)
        self._share.give_back(freed)

    def read(self, offset: int) -> bytes:
        """Returns bytes at an offset, at most those of one piece; none at the end."""
        for piece in self._pieces:
            if offset < piece.end:
                return bytes(memoryview(piece.data)[offset - piece.start :])
        return b""

    def digest(self, algorithm: str, stop: int) -> str:
        """Hashes the bytes up to an offset; all of them must be kept, from offset 0."""
        found = hashlib.new(algorithm)
        for piece in list(self._pieces):
            if piece.start < stop:
                found.update(memoryview(piece.data)[: stop - piece.start])
        return f"{algorithm}:{found.hexdigest()}"
