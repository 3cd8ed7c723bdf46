"""Reading as from a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import grpc

from holdfast.client.frontends import Connection, Frontends, retryable
from holdfast.client.protocol import check_piece
from holdfast.digests import Digest
from holdfast.errors import HoldfastError, Unavailable
from protos import content_pb2 as pb

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from grpc import _CallIterator

READ_THROUGH: Final = 2**20
"""Bytes up to which going on reading is cheaper than a new Read."""


class BlobReader(io.RawIOBase):
    """One blob. A single Read stream serves sequential reading; seeking begins another."""

    def __init__(self, frontends: Frontends, digest: Digest, size: int) -> None:
        self._frontends = frontends
        self._digest = digest
        self._patience = frontends.patience()
        self._stream: _CallIterator[pb.ReadContentResponse] | None = None
        self._connection: Connection | None = None
        self._began = 0
        self._piece = memoryview(b"")
        self._piece_end = 0
        self._position = 0
        self.size = size
        """Bytes of the blob."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to an offset, which may be past the end; returns it.

        Raises:
            ValueError: before the start, or an unknown `whence`.
        """
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in bases:
            raise ValueError(f"whence {whence} is unknown; use 0, 1 or 2")
        target = bases[whence] + offset
        if target < 0:
            raise ValueError(f"can't seek to {target}, before the start")
        self._position = target
        return target

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills the buffer as far as one message reaches; returns 0 at the end.

        Raises:
            NotFound: the blob went away.
            DataLoss: the stored bytes aren't what was stored.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        self._check_open()
        target = memoryview(buffer).cast("B")
        if not target or self._position >= self.size:
            return 0
        for attempt in self._frontends.attempts(self._patience, retryable):
            with attempt:
                try:
                    piece = self._next()
                except BaseException:
                    self._stop()
                    raise
        count = min(len(piece), len(target))
        target[:count] = piece[:count]
        self._position += count
        return count

    def close(self) -> None:
        """Ends the stream."""
        if not self.closed:
            self._stop()
        super().close()

    def _next(self) -> memoryview:
        """What is at hand from the position on, at least one byte."""
        while not self._at_hand():
            ahead = self._position - self._piece_end
            if self._stream is None or not 0 <= ahead <= READ_THROUGH:
                self._begin()
            self._receive()
        return self._piece[len(self._piece) - (self._piece_end - self._position) :]

    def _at_hand(self) -> bool:
        return self._piece_end - len(self._piece) <= self._position < self._piece_end

    def _begin(self) -> None:
        self._stop()
        self._began = self._piece_end = self._position
        self._connection = self._frontends.current()
        self._stream = self._connection.stub.Read(
            pb.ReadContentRequest(digest=str(self._digest), offset=self._position),
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
        check_piece(self._began, message.offset, self._piece_end, len(message.data), self.size)
        self._piece = memoryview(message.data)
        self._piece_end += len(message.data)
        self._patience.progress()

    def _ended(self, connection: Connection) -> HoldfastError:
        self._frontends.failed(connection.target)
        return Unavailable(
            f"{connection.target} ended the reading of {self._digest} at offset "
            f"{self._piece_end} of {self.size}"
        )

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        self._piece = memoryview(b"")
        self._piece_end = self._position
        if stream is not None:
            stream.cancel()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
