"""Writing a blob as a file."""

from __future__ import annotations

import hashlib
import io
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast.client.replay import ReplayBuffer
from holdfast.client.upload import Committed, Upload
from holdfast.digests import CANONICAL, Digest
from holdfast.errors import FailedPrecondition, shorten

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Writer(io.BufferedIOBase):
    """Writes one ref; resumes automatically if a stream breaks.

    What was written before is kept: `offset` says where to continue, and the caller moves its
    source there first. If the block is left without `commit`, the bytes are kept, and the next
    writer of the ref continues. The writer keeps its last bytes (64 MiB) to send them again if a
    frontend dies; if more is lost it raises `BytesGone`.
    """

    def __init__(self, upload: Upload, message_size: int, replay: int, expected: str) -> None:
        """Locks the ref.

        Raises:
            AlreadyExists: the tenant holds `expected`.
            Unavailable: another stream kept writing the ref.
        """
        self._upload = upload
        self._message_size = message_size
        self._pending = bytearray()
        self._done = False
        self._hash = hashlib.new(Digest.parse(expected).algorithm if expected else CANONICAL)
        self._hashed = 0
        self.offset = upload.open()
        """How many bytes were stored when the writer was opened."""
        self._position = self.offset
        self._buffer = ReplayBuffer(self.offset, replay)
        upload.source = self._buffer

    @property
    def ref(self) -> str:
        """The ingest's name."""
        return self._upload.ref

    def writable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The offset in the blob of the next byte to be written."""
        return self._position

    def skip(self, data: ReadableBuffer) -> None:
        """Hashes bytes before `offset`, in order, so that `commit` can check all bytes.

        Raises:
            FailedPrecondition: they extend past `offset`.
        """
        view = memoryview(data).cast("B")
        if self._hashed + len(view) > self.offset:
            raise FailedPrecondition(
                f"ref {shorten(self.ref)}: {self._hashed + len(view)} bytes were skipped, but the "
                f"store has only {self.offset}"
            )
        self._hash.update(view)
        self._hashed += len(view)

    def write(self, data: ReadableBuffer) -> int:
        """Accepts all of `data`; returns its length in bytes.

        Raises:
            BytesGone: a frontend died, and the bytes that it lost are no longer kept here.
            HoldfastError: as the frontend says, or that none could be reached in time.
        """
        self._check_open()
        view = memoryview(data).cast("B")
        if self._hashed == self._position:
            self._hash.update(view)
            self._hashed += len(view)
        self._position += len(view)
        taken = 0
        while taken < len(view):
            more = view[taken : taken + self._message_size - len(self._pending)]
            self._pending += more
            taken += len(more)
            if len(self._pending) == self._message_size:
                self._send()
        return len(view)

    def flush(self) -> None:
        """Sends what was written, and waits until the frontend has it.

        Raises:
            HoldfastError: as for `write`.
        """
        if not self._done:
            self._send()
            self._upload.flush()

    def commit(self, expected: str = "") -> Committed:
        """Commits the blob, so that the tenant holds it, and closes the writer.

        The store checks the digest against `expected`, or the one that was announced, or else
        against the bytes that were written here.

        Raises:
            FailedPrecondition: size or digest differ; the bytes are kept.
            HoldfastError: as for `write`.
        """
        self._check_open()
        self._send()
        if not expected and not self._upload.expected and self._hashed == self._position:
            expected = f"{self._hash.name}:{self._hash.hexdigest()}"
        committed = self._upload.commit(expected)
        self._end()
        return committed

    def abort(self) -> None:
        """Drops what was written, and closes the writer.

        Raises:
            HoldfastError: as the frontend says.
        """
        self._check_open()
        self._pending.clear()
        self._end()
        self._upload.abort()

    def close(self) -> None:
        """Closes the writer; the store keeps what was written, so that it can be resumed.

        Raises:
            HoldfastError: as for `write`.
        """
        if self.closed:
            return
        try:
            self._send()
        finally:
            self._leave()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            # Nothing is retried: the first error should be seen, and soon.
            self._leave()

    def __enter__(self) -> Self:
        return self

    def __del__(self) -> None:
        # io's own method would close, which sends and waits.
        self._upload.drop()

    def _send(self) -> None:
        if self._hand_over():
            self._upload.send()

    def _hand_over(self) -> bool:
        if not self._pending:
            return False
        self._buffer.append(bytes(self._pending))
        self._pending.clear()
        return True

    def _leave(self) -> None:
        if self.closed:
            return
        self._end()
        self._hand_over()
        self._upload.suspend()

    def _end(self) -> None:
        # io's own method would flush.
        self._done = True
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"the writer of ref {shorten(self.ref)} is closed")
