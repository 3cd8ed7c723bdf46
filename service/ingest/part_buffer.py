"""The bytes received of the part that isn't full yet: in memory, or in a tail object.

A tail is written when a stream ends early, or when buffers are short. The next writer
reads it back before it continues, and compares the bytes with the checksums in the
checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from holdfast.coordination.changes import SavedTail
from holdfast.coordination.ingest import Ingest
from holdfast.coordination.leases import RESUME
from holdfast.errors import Aborted, DataLoss, NotFound, because
from holdfast.service.ingest.write_messages import Received
from holdfast.service.ingest.writing import Writing
from holdfast.storage import blocks
from holdfast.storage.blocks import RunningSum
from holdfast.storage.keys import tail_key

COPIED: Final = 64 * 2**10
"""Smaller pieces, in bytes, are copied together: each object has its own overhead, and a diff
sends thousands of 240-byte messages."""
COPY_CHUNK: Final = 2**20
"""Bytes up to which pieces are copied together."""


@dataclass(slots=True)
class PartBuffer:
    """The bytes of one part.

    Attributes:
        chunks: the bytes, in order, if they are in memory.
        size: how many bytes there are, in memory or in the tail object.
        sums: checksums of the blocks that are full.
        tail: key of the tail object that the checkpoint names, "" if none.
        in_memory: False while the bytes are only in the tail object.
    """

    chunks: list[memoryview | bytearray] = field(default_factory=list)
    size: int = 0
    sums: bytes = b""
    tail: str = ""
    in_memory: bool = True

    @classmethod
    def of(cls, ingest: Ingest) -> PartBuffer:
        """The buffer that an earlier stream left."""
        if not ingest.tail_key:
            return cls()
        sums = bytes.fromhex(ingest.tail_sums)
        return cls([], ingest.tail_size, sums, ingest.tail_key, in_memory=False)

    @property
    def reserved(self) -> int:
        """Bytes that it has in memory."""
        return self.size if self.in_memory else 0

    @property
    def to_load(self) -> int:
        """Bytes that have to be read back before it can be used."""
        return 0 if self.in_memory else self.size

    def append(self, data: Received, start: int, stop: int, sums: bytes) -> None:
        """Appends `data[start:stop]`, and the checksums of the blocks that it filled."""
        piece = memoryview(data)[start:stop]
        # A view keeps its whole message in memory, so a small part of a message is copied too.
        if len(piece) < COPIED or 2 * len(piece) < len(data):
            last = self.chunks[-1] if self.chunks else None
            if isinstance(last, bytearray) and len(last) + len(piece) <= COPY_CHUNK:
                last += piece
            else:
                self.chunks.append(bytearray(piece))
        else:
            self.chunks.append(piece)
        self.size += len(piece)
        self.sums += sums

    def body(self) -> bytes:
        """The bytes in one piece, which replaces the others in memory."""
        body = b"".join(self.chunks)
        self.chunks = [memoryview(body)]
        return body

    def take(self) -> list[memoryview | bytearray]:
        """The bytes, which the buffer no longer has: the caller owns them."""
        taken, self.chunks = self.chunks, []
        return taken

    def give_up(self) -> int:
        """Drops the bytes from memory; returns how many there were."""
        freed = self.reserved
        self.chunks, self.in_memory = [], False
        return freed


class Tails:
    """Writes and reads the tails of one stream."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    async def write(self, buffer: PartBuffer) -> None:
        """Makes a buffer durable in a new tail object, and records that in the checkpoint.

        Raises:
            Aborted: the lease is lost.
            Unavailable, ResourceExhausted: the store or Redis fails.
        """
        writing, path = self._writing, self._writing.path
        key, old = tail_key(path.new_name()), buffer.tail

        def body() -> bytes:
            writing.check_lease()
            return buffer.body()

        await path.sender.put(key, body)
        tail = SavedTail(
            key=key,
            size=buffer.size,
            sums=buffer.sums,
            offset=writing.offset,
            hash=writing.saved_hash(),
            crc=writing.running.value,
            crc_filled=writing.running.filled,
        )
        await path.ingests.save(writing.lease, writing.data_key, tail, path.now_ns())
        buffer.tail, writing.durable = key, writing.offset
        self.discard(old)

    async def load(self, buffer: PartBuffer, parts: int, boundary: int) -> None:
        """Reads a buffer back, or rewinds the ingest to its last part boundary.

        Args:
            buffer: the one whose bytes are in its tail object.
            parts: how many parts are full.
            boundary: the offset at which the last of them ends.

        Raises:
            Aborted: the tail is gone, or damaged in two readings; the client continues at
                `boundary`.
        """
        writing, path = self._writing, self._writing.path
        try:
            body = await self._fetch(buffer)
        except (NotFound, DataLoss) as error:
            await path.ingests.rewind(writing.lease, writing.data_key, parts, boundary)
            writing.fail(
                Aborted(f"the bytes after offset {boundary} are lost ({because(error)}); {RESUME}")
            )
            writing.check()
        buffer.chunks, buffer.in_memory = [memoryview(body)], True

    async def _fetch(self, buffer: PartBuffer) -> bytes:
        """The bytes of a tail, read again if they are damaged: perhaps only the reply was.

        Raises:
            NotFound: the tail is gone.
            DataLoss: the bytes weren't those that were written, in two readings.
        """
        path = self._writing.path
        try:
            body = (await path.store.get(buffer.tail, buffer.size)).body
            self._compare(buffer, body)
        except DataLoss:
            body = (await path.store.get(buffer.tail, buffer.size)).body
            self._compare(buffer, body)
        return body

    def _compare(self, buffer: PartBuffer, body: bytes) -> None:
        sums, running = blocks.extend(RunningSum(), body)
        if (len(body), sums, running) != (buffer.size, buffer.sums, self._writing.running):
            raise DataLoss(f"the bytes of tail {buffer.tail} aren't those that were written")

    def discard(self, key: str) -> None:
        """Deletes a tail that no checkpoint names any more, in the background."""
        self._writing.path.discards.tail(key)
