"""Reading a blob as a file, and reading ranges of its bytes.

A Read first asks only for the bytes that are needed. As long as reading is sequential, each
further Read asks for four times as much, until one asks for all the rest; after a seek, Reads are
small again. So random access fetches little more than it uses, and sequential reading is one long
stream.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import grpc

from holdfast.client.frontends import Connection, Frontends, retryable
from holdfast.client.protocol import check_piece
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, Unavailable
from holdfast.protos import content_pb2 as pb

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from grpc import _CallIterator

READ_THROUGH: Final = 64 * 2**10
"""How far a seek may go ahead in a running Read, in bytes, without a new Read."""
GROWTH: Final = 4
"""The factor by which each next Read is larger while reading is sequential."""
WHOLE: Final = 16 * 2**20
"""The size in bytes from which a Read asks for all the rest: a round trip is negligible then."""


class BlobReader(io.RawIOBase):
    """One blob, unbuffered. The module describes sequential reading and seeking."""

    def __init__(self, frontends: Frontends, digest: Digest, size: int) -> None:
        self._frontends = frontends
        self._digest = digest
        self._patience = frontends.patience()
        self._stream: _CallIterator[pb.ReadContentResponse] | None = None
        self._connection: Connection | None = None
        self._asked = 0
        """How many bytes the last Read asked for."""
        self._began = 0
        self._stop_at = 0
        self._piece = memoryview(b"")
        self._piece_end = 0
        self._position = 0
        self.size = size
        """The blob's size in bytes."""

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to an offset, which may be past the end; returns it.

        Raises:
            ValueError: the offset is before the start, or `whence` is unknown.
        """
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in bases:
            raise ValueError(f"whence {whence} is unknown; use 0, 1 or 2")
        target = bases[whence] + offset
        if target < 0:
            raise ValueError(f"can't seek to {target}: it is before the start")
        self._position = target
        return target

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills the buffer as far as one message reaches; returns 0 at the end.

        Raises:
            NotFound: the blob was deleted.
            DataLoss: the stored bytes are damaged.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        self._check_open()
        target = memoryview(buffer).cast("B")
        piece = self._take(len(target))
        target[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """All bytes from the current position on.

        Raises:
            as `readinto`.
        """
        self._check_open()
        pieces = []
        while piece := self._take(max(0, self.size - self._position)):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Ends the stream."""
        if not self.closed:
            self._end()
        super().close()

    def _take(self, wanted: int) -> memoryview:
        """Returns at most `wanted` bytes and advances; returns none only at the end."""
        if not wanted or self._position >= self.size:
            return memoryview(b"")
        for attempt in self._frontends.attempts(self._patience, retryable):
            with attempt:
                try:
                    piece = self._next(wanted)[:wanted]
                except BaseException:
                    self._end()
                    raise
        self._position += len(piece)
        return piece

    def _next(self, wanted: int) -> memoryview:
        """Returns the bytes at the position, at least one; receives them first if necessary."""
        while not self._at_hand():
            ahead = self._position - self._piece_end
            within = 0 <= ahead <= READ_THROUGH and self._position < self._stop_at
            if self._stream is None or not within:
                self._begin(wanted)
            self._receive()
        return self._piece[len(self._piece) - (self._piece_end - self._position) :]

    def _at_hand(self) -> bool:
        return self._piece_end - len(self._piece) <= self._position < self._piece_end

    def _begin(self, wanted: int) -> None:
        sequential = self._position == self._piece_end and self._asked
        asks = max(wanted, self._asked * GROWTH) if sequential else wanted
        rest = self.size - self._position
        self._end()
        self._asked = rest if asks >= WHOLE else min(asks, rest)
        self._began = self._piece_end = self._position
        self._stop_at = self._began + self._asked
        self._connection = self._frontends.current()
        self._stream = self._connection.stub.Read(
            pb.ReadContentRequest(
                digest=str(self._digest), offset=self._position, size=self._asked
            ),
            timeout=self._frontends.options.stream_timeout,
            metadata=self._frontends.metadata,
        )

    def _receive(self) -> None:
        stream, connection = self._stream, self._connection
        if stream is None or connection is None:
            raise AssertionError
        try:
            message = next(stream)
        except StopIteration:
            raise self._ended(connection) from None
        except grpc.RpcError as error:
            raise self._frontends.translate(error, connection.target) from None
        check_piece(self._began, message.offset, self._piece_end, len(message.data), self._stop_at)
        self._piece = memoryview(message.data)
        self._piece_end += len(message.data)
        self._patience.progress()

    def _ended(self, connection: Connection) -> HoldfastError:
        self._frontends.failed(connection.target)
        return Unavailable(
            f"{connection.target} ended the Read of {self._digest} at offset {self._piece_end}; "
            f"expected the bytes up to {self._stop_at}"
        )

    def _end(self) -> None:
        """Ends the stream, if there is one."""
        stream, self._stream = self._stream, None
        self._piece = memoryview(b"")
        self._piece_end = self._position
        if stream is not None and not self._frontends.forked:
            stream.cancel()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")


class Blob(io.BufferedReader):
    """A blob as a seekable, buffered binary file that can also read ranges."""

    def __init__(self, frontends: Frontends, digest: Digest, size: int) -> None:
        super().__init__(BlobReader(frontends, digest, size))
        self._frontends = frontends
        self.digest = digest
        """The digest of all its bytes."""
        self.size = size
        """Its size in bytes."""

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on, fewer only at the end; the position stays.

        Raises:
            ValueError: the offset or the size is negative.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        if offset < 0 or size < 0:
            raise ValueError(f"can't read {size} bytes at offset {offset}: neither may be negative")
        with BlobReader(self._frontends, self.digest, self.size) as raw:
            raw.seek(offset)
            return read_up_to(raw, size)


def read_up_to(raw: BlobReader, size: int) -> bytes:
    """Reads `size` bytes from the position of `raw` on, fewer only at the end."""
    data = bytearray()
    while piece := raw.read(size - len(data)):
        data += piece
    return bytes(data)
