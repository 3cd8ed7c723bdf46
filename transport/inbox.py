"""What a client sends on one stream: bytes become messages, and the window follows the need.

A message is five bytes (compressed or not, length) and its bytes. Until somebody asks for it, a
client may send `base` bytes: they wait here as they came. When it is asked for, at once or in
steps, the window is opened for just as much of it, as much memory is reserved, and each byte is
copied once.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from holdfast.transport.counts import Counts, Refusal
from holdfast.transport.status import Code, Status

PREFIX: Final = Struct(">BI")
PREFIX_SIZE: Final = PREFIX.size
COMPRESSED: Final = 1


class CompressionRefusedError(Status):
    """A message is compressed, and no encoding but `identity` is accepted."""


class Inbox:
    """The messages of one stream, and the stream's window."""

    __slots__ = (
        "_asked",
        "_counted",
        "_counts",
        "_encoding",
        "_filled",
        "_length",
        "_message",
        "_raw",
        "_room",
        "base",
        "ended",
        "limit",
        "taken",
        "window",
    )

    def __init__(self, base: int, limit: int, encoding: str, counts: Counts) -> None:
        """Begins empty.

        Args:
            base: bytes that the client may send before they are asked for.
            limit: most bytes of a message.
            encoding: how the client would compress messages.
            counts: counts the messages that are taken.
        """
        self.base = base
        """Bytes that the client may send before they are asked for."""
        self.limit = limit
        """Most bytes of a message."""
        self._encoding = encoding
        self._counts = counts
        self._raw = bytearray()
        self._message: bytes | bytearray | None = None
        self._room = memoryview(b"")  # the memory that is reserved for the message
        self._asked = 0  # bytes of it that were asked for
        self._filled = 0
        self._counted = 0  # bytes of the message that the window was not opened for
        self._length = -1
        self.window = base
        """Bytes that the client may still send."""
        self.taken = 0
        """Bytes of the messages that were taken."""
        self.ended = False
        """Whether the client has ended its side of the stream."""

    def feed(self, piece: memoryview) -> bool:
        """Takes the next bytes, which are copied.

        Returns False if only more of what was asked for has come, and not all of it.
        """
        if self._message is None:
            if not self._raw and len(piece) >= PREFIX_SIZE:
                flag, length = PREFIX.unpack_from(piece)
                if length == len(piece) - PREFIX_SIZE and not flag and length <= self.limit:
                    self._keep(bytes(piece[PREFIX_SIZE:]))
                    return True
            self._raw += piece
            return True
        size, missing = len(piece), len(self._room) - self._filled
        if size < missing:
            self._room[self._filled : self._filled + size] = piece
            self._filled += size
            return False
        if missing > 0:
            self._room[self._filled :] = piece[:missing]
            self._filled += missing
            piece = piece[missing:]
        self._raw += piece
        return True

    @property
    def arrived(self) -> int:
        """Bytes that have arrived of the next message, and of those behind it."""
        return self._filled + len(self._raw) if self._message is not None else len(self._raw)

    @property
    def length(self) -> int | None:
        """Bytes of the next message; None if its length hasn't arrived.

        Raises:
            Status: the next message can't be accepted.
        """
        if self._length < 0:
            if len(self._raw) < PREFIX_SIZE:
                return None
            flag, length = PREFIX.unpack_from(self._raw)
            self._check(flag, length)
            self._length = length
        return self._length

    def _check(self, flag: int, length: int) -> None:
        if flag > COMPRESSED or (flag and self._encoding == "identity"):
            raise Status(
                Code.INVALID_ARGUMENT, "a message is marked as compressed, but none may be"
            )
        if flag:
            raise CompressionRefusedError(
                Code.UNIMPLEMENTED,
                f"messages compressed with {self._encoding!r} aren't accepted: send them plain",
            )
        if length > self.limit:
            self._counts.refused[Refusal.MESSAGES] += 1
            raise Status(
                Code.RESOURCE_EXHAUSTED,
                f"a message of {length} bytes is larger than {self.limit}, the most",
            )

    @property
    def complete(self) -> bool:
        """Whether the next message is here as a whole."""
        if self._message is not None:
            return self._filled == self._length
        length = self.length
        return length is not None and len(self._raw) >= PREFIX_SIZE + length

    @property
    def rest(self) -> int:
        """Bytes that have arrived and belong to no message that was taken or opened."""
        return len(self._raw)

    @property
    def cut(self) -> bool:
        """Whether the client has ended its side within a message."""
        return self.ended and (self._message is not None or bool(self._raw))

    @property
    def lacking(self) -> bool:
        """Whether a message has begun, and the client may send more of it now."""
        if self._message is not None:
            return self._filled < self._asked
        known = self._length >= 0 or len(self._raw) < PREFIX_SIZE
        return bool(self._raw) and self.window > 0 and known and not self.complete

    @property
    def beyond(self) -> int:
        """Bytes that would be reserved for all of it: 0 if the message fits into the window."""
        length = self.length
        if length is None or self._message is not None or PREFIX_SIZE + length <= self.base:
            return 0
        return length

    def ask(self, most: int) -> bool:
        """Asks for the first `most` bytes of the next message, for which `credit` opens the window.

        Returns whether that is more than before: then `reserve` must follow before anything comes.
        Nothing changes if its length isn't known, or if all of it may come already.
        """
        beyond = self.beyond
        size = min(most, self._length)
        if beyond:
            self._message, self._filled = bytearray(), 0
            del self._raw[:PREFIX_SIZE]
        elif not isinstance(self._message, bytearray) or size <= max(self._asked, self._filled):
            return False
        self._asked = size
        return True

    def reserve(self) -> None:
        """Reserves memory for what was asked for.

        It takes a while: the kernel has to clear much of it. So the client is told first.
        """
        if self._message:
            self._room.release()
            self._message += bytes(self._asked - len(self._message))
        else:
            self._message = bytearray(self._asked)
        self._room = memoryview(self._message)
        held = self._raw[: self._asked - self._filled]
        self._room[self._filled : self._filled + len(held)] = held
        self._filled += len(held)
        del self._raw[: len(held)]

    def has(self, most: int) -> bool:
        """Whether the first `most` bytes of the next message are here, or it is complete."""
        if self._message is not None:
            return self._filled >= min(most, self._length)
        return self.complete

    def take(self) -> bytes | bytearray:
        """Returns the next message, which must be complete."""
        self._counts.messages_in += 1
        self.taken += self._length
        message = self._message
        if message is None:
            end = PREFIX_SIZE + self._length
            with memoryview(self._raw) as raw:
                message = bytes(raw[PREFIX_SIZE:end])
            del self._raw[:end]
            self._length = -1
            return message
        self._message = None
        self._asked = self._counted = 0
        self._length = -1
        self._room.release()
        self._room = memoryview(b"")
        return message

    def put_back(self, message: bytes | bytearray) -> None:
        """Makes a message that was taken the next one again."""
        self._counts.messages_in -= 1
        self.taken -= len(message)
        self._keep(message)

    def _keep(self, message: bytes | bytearray) -> None:
        self._message, self._filled = message, len(message)
        self._counted = self._length = len(message)

    def credit(self) -> int:
        """Returns by how much to open the window now; it counts as opened."""
        lacking = max(0, self._asked - self._filled)
        reserved = max(0, lacking - len(self._raw))
        held = max(0, len(self._raw) - lacking) + self._counted
        missing = reserved
        if self._message is None and self._length >= 0:
            missing = PREFIX_SIZE + self._length - held
        due = self.base - held - self.window + reserved
        if self.ended or due <= 0 or (due < self.base // 2 and self.window >= missing):
            return 0
        self.window += due
        return due
