"""The parts of an upload: stored in parallel, checkpointed in order.

    full, or last → stored → all before it checkpointed → checkpointed

The upload is created with the first part. A checkpoint names the upload, the parts so
far and the hash at their end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast.coordination.changes import Checkpoint
from holdfast.coordination.ingest import Ingest, StoredPart
from holdfast.errors import Aborted, DataLoss, HoldfastError
from holdfast.service.ingest.part_buffer import PartBuffer, Tails
from holdfast.service.ingest.writing import Writing
from holdfast.service.process.permits import NONE, Permit
from holdfast.storage import blocks
from holdfast.storage.keys import data_key
from holdfast.storage.port import Body, NoSuchUpload, Upload
from holdfast.tasks import begin, wait_for_end


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A part that is being stored, and the stream's state at the part's end.

    A full part owns its buffer and the budget that its bytes occupy. A short one leaves both
    to the stream, because more bytes may come after all.
    """

    number: int
    buffer: PartBuffer
    sums: bytes
    end: int
    hash_state: str
    full: bool
    room: Permit


class PartUploads:
    """The parts of one stream's upload.

    Attributes:
        upload_id: of the upload, "" before there is one.
        begun: when the data key was first used, in s by the store's clock.
        parts: those that are stored, in order.
        next: the number of the part that isn't full yet, from 1.
    """

    def __init__(self, writing: Writing, tails: Tails, ingest: Ingest) -> None:
        self._writing = writing
        self._tails = tails
        self.upload_id = ingest.upload_id
        self.begun = ingest.begun
        self.parts = list(ingest.parts)
        if ingest.tail_key and self.last_is_short:
            # The part was sent early, then more bytes came: the tail contains its bytes, too.
            self.parts.pop()
        self.next = len(self.parts) + 1
        self._in_flight = asyncio.Semaphore(writing.path.limits.parts_in_flight)
        # The jobs that have not ended, in order.
        self._jobs: list[asyncio.Task[None]] = []
        self._creation: asyncio.Task[Upload] | None = None
        # Whether Redis may know the upload: then it belongs to the ingest, and isn't dropped here.
        self._named = bool(ingest.upload_id)
        self._recording: asyncio.Task[None] | None = None

    @property
    def last_is_short(self) -> bool:
        """Whether the last stored part is shorter than a full one."""
        return bool(self.parts) and self.parts[-1].size != self._writing.part_size

    @property
    def full(self) -> tuple[int, int]:
        """How many full parts are stored, and the offset at which the last of them ends."""
        full = self.parts[:-1] if self.last_is_short else self.parts
        return len(full), sum(part.size for part in full)

    @property
    def block_sums(self) -> bytes:
        """The checksums of all blocks that are stored."""
        return b"".join(part.block_sums for part in self.parts)

    async def send_full(self, buffer: PartBuffer, room: Permit) -> None:
        """Begins to store a full buffer, and owns it from now on; waits until that may begin.

        Args:
            buffer: the bytes.
            room: their share of the budget, which is released when they are stored.
        """
        try:
            await self._start(self._outgoing(buffer, buffer.sums, room, full=True))
        except BaseException:
            room.release()
            raise

    async def send_short(self, buffer: PartBuffer) -> asyncio.Task[None]:
        """Begins to store the last part; its bytes stay in the buffer."""
        sums = buffer.sums + blocks.finish(self._writing.running)
        return await self._start(self._outgoing(buffer, sums, NONE, full=False))

    def _outgoing(self, buffer: PartBuffer, sums: bytes, room: Permit, *, full: bool) -> Outgoing:
        writing, number = self._writing, self.next
        self.next += full
        return Outgoing(number, buffer, sums, writing.offset, writing.saved_hash(), full, room)

    async def _start(self, part: Outgoing) -> asyncio.Task[None]:
        try:
            await self._in_flight.acquire()
        except asyncio.CancelledError as error:
            self._writing.fail(error)
            raise
        previous = self._jobs[-1] if self._jobs else None
        job = self._writing.begin(self._run, part, previous)
        job.add_done_callback(lambda job: self._ended(part, job))
        self._jobs.append(job)
        return job

    def _ended(self, part: Outgoing, job: asyncio.Task[None]) -> None:
        """Releases what a job held, even if it never began."""
        self._jobs.remove(job)
        self._in_flight.release()
        part.room.release()

    async def _run(self, part: Outgoing, previous: asyncio.Task[None] | None) -> None:
        try:
            stored = await self._store(part)
            if previous:
                await asyncio.wait([previous])
            self._writing.check()
            await self._checkpoint(part, stored)
        except (DataLoss, NoSuchUpload):  # a disk has lost it, or the store has dropped it
            self._writing.fail(self._writing.failure or await self._upload_gone())

    async def _store(self, part: Outgoing) -> StoredPart:
        writing, path = self._writing, self._writing.path
        upload = await self._ensure_upload()

        def body() -> Body:
            writing.check_lease()
            # A full part is sent in the pieces in which it came. A short one is copied into one
            # piece, which stays in the buffer, because more bytes may come after all.
            return part.buffer.take() if part.full else part.buffer.body()

        stored = await path.sender.put_part(
            writing.data_key, upload, part.number, body, sums=part.sums, held=(part.room,)
        )
        return StoredPart(stored.etag, stored.size, part.sums)

    async def _ensure_upload(self) -> str:
        """The upload's id; it is created with the first part."""
        if not self.upload_id:
            path = self._writing.path
            if self._creation is None:
                self._creation = begin(path.store.create_upload(self._writing.data_key))
            upload = await wait_for_end(self._creation)
            self.upload_id, self.begun = upload.id, upload.date
        return self.upload_id

    async def _checkpoint(self, part: Outgoing, stored: StoredPart) -> None:
        """Records a part in Redis, which replies even if this job is cancelled meanwhile.

        The reply says whether the ingest has the upload.
        """
        self._recording = begin(self._record(part, stored))
        await wait_for_end(self._recording)

    async def _record(self, part: Outgoing, stored: StoredPart) -> None:
        writing, path = self._writing, self._writing.path
        checkpoint = Checkpoint(
            offset=part.end,
            live=writing.offset,
            part_size=writing.part_size,
            upload_id=self.upload_id,
            begun=self.begun,
            hash=part.hash_state,
            full=part.full,
        )
        named, self._named = self._named, True
        try:
            counted = await path.ingests.checkpoint(
                writing.lease,
                writing.data_key,
                part.number,
                stored,
                checkpoint=checkpoint,
                now_ns=path.now_ns(),
            )
        except Aborted:
            self._named = named  # Redis has refused the checkpoint
            raise
        self.parts[part.number - 1 :] = [stored]
        writing.durable = part.end
        writing.others = counted - part.end
        self._tails.discard(part.buffer.tail)
        part.buffer.tail = ""

    async def _upload_gone(self) -> HoldfastError:
        """Restarts an ingest whose upload is gone: the client has to start over."""
        writing, path = self._writing, self._writing.path
        try:
            await path.ingests.restart(
                writing.lease, writing.data_key, data_key(path.new_name()), path.now_ns()
            )
        except HoldfastError as error:
            return error
        return Aborted("the store has dropped the upload; ask STAT and start over at offset 0")

    async def settle(self) -> None:
        """Waits for all parts that are being stored; by then their failures are recorded."""
        while self._jobs:
            await asyncio.wait(self._jobs)

    def cancel(self) -> None:
        """Cancels the parts that are being stored."""
        for job in self._jobs:
            job.cancel()

    async def close(self) -> None:
        """Cancels the parts that are being stored, and drops an upload that no checkpoint names."""
        self.cancel()
        await self.settle()
        if self._recording:
            await asyncio.wait([self._recording])
        creation, self._creation = self._creation, None
        if creation and not self._named:
            self._writing.path.discards.unnamed(self._writing.data_key, creation)
