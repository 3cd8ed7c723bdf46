"""The bytes of one ingest: hashed as they come, cut into parts, stored in parallel.

    received → hashed and summed → part full → stored → checkpointed (in order)
                                 ↘ stream ends, or buffers are short → tail

A checkpoint says what is durable: the parts so far, the hash at their end, the
tail. Everything after it is only in memory, and the client sends it again if this
process dies.
"""

from __future__ import annotations

import asyncio

from holdfast.coordination.ingest import Ingest, StoredPart
from holdfast.coordination.leases import RESUME, Lease
from holdfast.digests import Digest
from holdfast.errors import Aborted, DataLoss, FailedPrecondition, HoldfastError, shorten
from holdfast.service.ingest.hashing import new_hash
from holdfast.service.ingest.part_buffer import PartBuffer, Tails
from holdfast.service.ingest.part_uploads import PartUploads
from holdfast.service.ingest.write_messages import Received
from holdfast.service.ingest.write_path import WritePath
from holdfast.service.ingest.writing import Writing
from holdfast.storage import blocks
from holdfast.storage.keys import data_key
from holdfast.storage.own_data import NEVER_SEEN
from holdfast.storage.port import MAX_PARTS
from holdfast.storage.records import INLINE_LIMIT


class PartStream:
    """One writer's bytes. Its calls come one at a time; only `spill` may run concurrently."""

    def __init__(self, path: WritePath, lease: Lease, ingest: Ingest, total: int) -> None:
        """Resumes an ingest where its durable bytes end.

        Raises:
            DataLoss: the saved hash state, or the checkpoint, is damaged.
        """
        self._path = path
        self._writing = writing = Writing.resume(path, lease, ingest)
        self._tails = Tails(writing)
        self._uploads = PartUploads(writing, self._tails, ingest)
        self._buffer = PartBuffer.of(ingest)
        stored = sum(part.size for part in self._uploads.parts) + self._buffer.size
        if stored != ingest.offset:
            raise DataLoss(
                f"ref {shorten(ingest.ref)}: its parts and tail have {stored} bytes, its "
                f"checkpoint says {ingest.offset}; abort it and start over"
            )
        # A short last part is stored, and its bytes aren't here: no bytes can follow it.
        self._short_stored = self._uploads.last_is_short
        self._lock = asyncio.Lock()
        self._early: asyncio.Task[None] | None = None
        self._single_put = False
        self.sight = NEVER_SEEN
        self.total = total
        self.share = path.budget.join(self)

    # -- its state

    @property
    def offset(self) -> int:
        """Bytes received."""
        return self._writing.offset

    @property
    def durable(self) -> int:
        """Bytes that are durable: another stream could continue after them."""
        return self._writing.durable

    @property
    def others(self) -> int:
        """Durable bytes of the tenant's other ingests, as Redis said with the last checkpoint."""
        return self._writing.others

    @others.setter
    def others(self, size: int) -> None:
        self._writing.others = size

    @property
    def data_key(self) -> str:
        """Where the bytes go in the store."""
        return self._writing.data_key

    @property
    def upload_id(self) -> str:
        """The upload's id, "" before there is one."""
        return self._uploads.upload_id

    @property
    def parts(self) -> list[StoredPart]:
        """The parts that are stored, in order."""
        return self._uploads.parts

    @property
    def begun(self) -> float | None:
        """When the data key was first used, in s by the store's clock."""
        return self._uploads.begun

    @property
    def multipart(self) -> bool:
        """Whether full parts were sent, because the blob doesn't fit into one part."""
        return self._uploads.next > 1

    @property
    def single_put_sent(self) -> bool:
        """Whether the blob was sent as one object."""
        return self._single_put

    @property
    def algorithm(self) -> str:
        """The algorithm of the hash, or "" if no hash is known."""
        return self._writing.hash.algorithm if self._writing.hash else ""

    @property
    def hashed(self) -> Digest | None:
        """The digest of the bytes so far; None if an ingest without a saved hash was resumed."""
        return self._writing.hash.digest() if self._writing.hash else None

    def use_algorithm(self, algorithm: str) -> None:
        """Hashes with another algorithm, if no bytes were received yet."""
        if self.offset == 0 and self.algorithm != algorithm:
            self._writing.hash = new_hash(algorithm)

    def block_sums(self) -> bytes:
        """The checksums of all blocks; to be called only after the last byte."""
        if self.multipart:
            return self._uploads.block_sums
        return self._buffer.sums + blocks.finish(self._writing.running)

    # -- receiving

    async def receive(self, data: Received, begin: int = 0) -> None:
        """Appends bytes; returns when they are hashed, and any full part is being stored.

        Args:
            data: contains the bytes.
            begin: where in it they begin.

        Raises:
            Aborted: the lease, the upload or the tail is lost.
            FailedPrecondition: the blob is larger than the parts of an upload can be.
            Unavailable, ResourceExhausted: the store or Redis fails.
        """
        self._writing.check()
        if self._short_stored:
            await self._rewind_short()
        if self._early:
            await self._settle_early(self._early)
        while begin < len(data):
            stop = min(len(data), begin + self._room())
            await self._reserve(stop - begin)
            taken = begin
            try:
                sums = await self._writing.digest(data, begin, stop)
                self._buffer.append(data, begin, stop, sums)
                taken = stop
                if self._buffer.size == self._writing.part_size:
                    buffer, self._buffer = self._buffer, PartBuffer()
                    await self._uploads.send_full(buffer, self.share.cut())
            finally:
                self._lock.release()
                if taken < stop:
                    self.share.give_back(stop - taken)
            begin = stop

    def receive_at_once(self, data: Received, begin: int = 0) -> bool:
        """Appends at most `INLINE_HASHING` bytes if that needs no waiting; else call `receive`.

        The piece must not fill its part, the part size must be chosen already, and no last part
        may have been sent early.

        Raises:
            as `receive`.
        """
        writing, stop = self._writing, len(data)
        size = stop - begin
        writing.check()
        waits = (
            self._buffer.size + size >= writing.part_size
            or self._short_stored
            or self._early is not None
            or self._buffer.to_load
            or self._lock.locked()
            or not self.share.take_at_once(size)
        )
        if waits:
            return False
        self._buffer.append(data, begin, stop, writing.digest_at_once(data, begin, stop))
        return True

    def _room(self) -> int:
        """Bytes that still fit into the part; 0 only if a tail just fills it."""
        writing = self._writing
        if not writing.part_size:
            # The tail may be from a frontend, or from a declared total, with larger parts.
            writing.part_size = self._path.choose_part_size(self.total, self._buffer.size)
        if self._uploads.next > MAX_PARTS:
            raise FailedPrecondition(
                f"the blob is larger than {MAX_PARTS} parts of {writing.part_size} bytes; declare "
                "its total in the first message, or raise HOLDFAST_PART_SIZE"
            )
        return writing.part_size - self._buffer.size

    async def _reserve(self, amount: int) -> None:
        """Waits for buffer space, also for a tail to be read back; returns with the lock held."""
        while True:
            in_memory, to_load = self._buffer.in_memory, self._buffer.to_load
            if not self.share.take_at_once(amount + to_load):
                await self.share.take(amount + to_load, self._rest(amount))
            try:
                await self._lock.acquire()
            except BaseException:
                self.share.give_back(amount + to_load)
                raise
            if self._buffer.in_memory == in_memory:
                break
            self._lock.release()
            self.share.give_back(amount + to_load)
        try:
            self._writing.check()
            if to_load:
                await self._tails.load(self._buffer, *self._uploads.full)
        except BaseException:
            self._lock.release()
            self.share.give_back(amount + to_load)
            raise

    def _rest(self, amount: int) -> int:
        """Bytes that are expected to follow the next `amount` bytes in the same part.

        It is 0 if `amount` is 0: that is how the end of the blob is stored.
        """
        if not amount:
            return 0
        rest = self._writing.part_size - self._buffer.size - amount
        lacking = self.total - self.offset - amount
        return min(rest, lacking) if lacking >= 0 else rest

    # -- the last, short part

    async def send_early(self) -> None:
        """Begins to store the last bytes early, because the declared total is reached.

        The bytes stay in the buffer: if more come after all, the part is sent again.
        """
        async with self._lock:
            if self._early or self._short_stored or not self._buffer.reserved:
                return
            if self.multipart:
                self._early = await self._uploads.send_short(self._buffer)
            elif self.offset > INLINE_LIMIT:
                self._send_single()

    def _send_single(self) -> None:
        self._single_put = True
        self._early = self._writing.begin(self._put_single)

    async def _put_single(self) -> None:
        def body() -> bytes:
            self._writing.check_lease()
            return self._buffer.body()

        written, self.sight = await self._path.completion.put(self.data_key, body)
        self._uploads.begun = written.date

    async def _settle_early(self, early: asyncio.Task[None]) -> None:
        """Undoes the early last part, because more bytes come after the declared total."""
        await asyncio.wait([early])
        self._writing.check()
        if self._single_put:
            # The object must never change, so the longer blob gets another key.
            fresh = data_key(self._path.new_name())
            await self._path.ingests.rekey(self._writing.lease, self.data_key, fresh)
            self._writing.data_key, self._uploads.begun = fresh, None
            self._single_put, self.sight = False, NEVER_SEEN
        self._early = None

    async def _rewind_short(self) -> None:
        """Rewinds: more bytes come, but the short last part is stored and its bytes aren't here."""
        writing, (full, boundary) = self._writing, self._uploads.full
        await self._path.ingests.rewind(writing.lease, writing.data_key, full, boundary)
        writing.fail(
            Aborted(
                f"the bytes after offset {boundary} must be sent again, because the part that ends "
                f"at the declared total can't be extended; {RESUME}"
            )
        )
        writing.check()

    # -- the end

    async def finish(self) -> None:
        """Stores all that was received, in parts.

        Raises:
            as `receive`.
        """
        self._writing.check()
        if self._buffer.size and not self._early and not self._short_stored:
            await self._reserve(0)
            try:
                self._early = await self._uploads.send_short(self._buffer)
            finally:
                self._lock.release()
        await self._settle()
        self._writing.check()
        if self.durable != self.offset:
            self._writing.fail(
                HoldfastError(f"of {self.offset} bytes only {self.durable} are in parts")
            )
            self._writing.check()

    async def put_single(self) -> None:
        """Stores a blob that fits into one part as one object, unless that was done already."""
        if self._early is None:
            await self._reserve(0)
            try:
                self._send_single()
            finally:
                self._lock.release()
        await self._settle()
        self._writing.check()

    async def body(self) -> bytes:
        """All bytes of a blob that fits into one part."""
        await self._reserve(0)
        try:
            return self._buffer.body()
        finally:
            self._lock.release()

    async def _settle(self) -> None:
        await self._uploads.settle()
        if self._early:
            await asyncio.wait([self._early])

    async def spill(self) -> None:
        """Makes the unfinished part durable in a tail object and releases its buffer.

        An error is kept, and fails the stream at its next message. If the writing has failed
        already, the bytes are dropped: no stream can continue after them.
        """
        async with self._lock:
            if not self._buffer.reserved:
                self.share.renounce()
                return
            try:
                with self._writing.lease.guard():
                    await self._settle()
                    self._writing.check()
                    if self.offset != self.durable:
                        await self._tails.write(self._buffer)
            except HoldfastError as error:
                self._writing.fail(error)
            except BaseException as error:
                self._writing.fail(error)
                raise
            finally:
                if self.durable == self.offset and not self._buffer.tail and self.multipart:
                    self._short_stored = True  # the short last part holds them
                self.share.give_back(self._buffer.give_up())
                self.share.renounce()

    async def suspend(self) -> None:
        """Makes durable what was received, so that another stream can continue.

        Raises:
            as `receive`; then another stream continues at the durable offset.
        """
        await self._settle()
        self._writing.check()
        async with self._lock:
            if self._buffer.in_memory and self.offset != self.durable:
                await self._tails.write(self._buffer)

    def discard_tail(self) -> None:
        """Deletes the tail, because the ingest has ended."""
        self._tails.discard(self._buffer.tail)

    def abandon(self) -> None:
        """Ends it at once: its uploads are cancelled, and all its buffer space is released.

        Calls of it that are still running fail at their next step.
        """
        self._writing.fail(Aborted(f"the stream has ended; {RESUME}"))
        if self._early:
            self._early.cancel()
        self._uploads.cancel()
        self.share.close()

    async def close(self) -> None:
        """Ends it, and waits until none of its work is under way any more."""
        self.abandon()
        await self._uploads.close()
        async with self._lock:
            self._buffer = PartBuffer()
        await self._uploads.close()  # again: `receive` may have sent a part before it noticed
        await self._settle()
