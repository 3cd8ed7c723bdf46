"""The bytes of one ingest: hashed as they come, cut into parts, stored in parallel.

    received → hashed and summed → part full → stored → checkpointed (in order)
                                 ↘ stream ends, or buffers are short → tail

A checkpoint says what is durable: the parts so far, the hash at their end, the
tail. Everything after it is in memory only and is sent again by the client if
this process dies.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from coordination.ingests import Change, Ingest, StoredPart
from coordination.leases import Lease
from coordination.scripts import Argument
from holdfast.digests import CANONICAL, Digest
from holdfast.errors import Aborted, DataLoss, FailedPrecondition, HoldfastError, NotFound
from service.hashing import ContentHash, load_hash, new_hash
from service.write_path import WritePath
from storage import blocks
from storage.blocks import RunningSum
from storage.keys import data_key, tail_key
from storage.port import MAX_PARTS, NoSuchUpload, Upload
from storage.records import INLINE_LIMIT

log = structlog.get_logger(__name__)

INLINE_HASHING: Final = 32 * 2**10
"""Bytes up to which hashing on the loop is cheaper than handing it to a thread."""
TAIL_FIELDS: Final = ("tail_key", "tail_size", "tail_sums")


@dataclass(slots=True)
class _Buffer:
    """What has been received of the part that isn't full yet.

    `size` counts its bytes wherever they are: in `chunks`, or, before anybody
    needs them, in the tail object.
    """

    chunks: list[memoryview]
    size: int = 0
    sums: bytes = b""
    tail: str = ""
    in_memory: bool = True

    @property
    def reserved(self) -> int:
        return self.size if self.in_memory else 0


@dataclass(slots=True)
class _Job:
    """A part on its way: everything that is true at its end."""

    number: int
    chunks: list[memoryview]
    size: int
    sums: bytes
    end: int
    hash_state: str
    full: bool


class PartStream:
    """One writer's bytes. Its calls come one at a time; `spill` may come beside them."""

    def __init__(self, path: WritePath, lease: Lease, ingest: Ingest, total: int) -> None:
        """Takes up an ingest where its durable part ends.

        Raises:
            DataLoss: the saved hash state is damaged.
        """
        self._path = path
        self._lease = lease
        self.total = total
        self.data_key = ingest.data_key
        self.upload_id = ingest.upload_id
        self.begun = ingest.begun
        self.parts = list(ingest.parts)
        self.offset = self.durable = ingest.offset
        self.sealed = ingest.sealed
        self.last_used = path.clock()
        self.failure: HoldfastError | None = None
        self._part_size = ingest.part_size
        self._boundary_hash = ingest.boundary_hash
        self._hash: ContentHash | None
        if ingest.offset == 0:
            algorithm = Digest.parse(ingest.expected).algorithm if ingest.expected else CANONICAL
            self._hash = new_hash(algorithm)
        else:
            self._hash = load_hash(ingest.hash) if ingest.hash else None
        self._running = RunningSum(ingest.crc, ingest.crc_filled)
        self._buffer = _Buffer([])
        if ingest.tail_key:
            sums = bytes.fromhex(ingest.tail_sums)
            self._buffer = _Buffer([], ingest.tail_size, sums, ingest.tail_key, in_memory=False)
        # A short last part is stored, and its bytes aren't here: nothing can follow it.
        self._closed = bool(self.parts) and self.parts[-1].size != self._part_size
        self._next = len(self.parts) + 1
        self._lock = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(path.limits.parts_in_flight)
        self._jobs: list[asyncio.Task[None]] = []
        self._upload: asyncio.Task[Upload] | None = None
        self._early: asyncio.Task[None] | None = None
        self._single_put = False
        # Whether Redis may know of the upload: then it is the ingest's, not ours to drop.
        self._upload_named = bool(ingest.upload_id)
        path.budget.join(self)

    # -- what it knows

    @property
    def multipart(self) -> bool:
        """Whether parts were sent: the blob doesn't fit one."""
        return self._next > 1

    @property
    def algorithm(self) -> str:
        """The algorithm that is hashed with, or "" if no hash is known."""
        return self._hash.algorithm if self._hash else ""

    @property
    def hashed(self) -> Digest | None:
        """The digest of the bytes so far; None after a resumption without a saved hash."""
        return self._hash.digest() if self._hash else None

    @property
    def spillable(self) -> int:
        """Bytes that `spill` would give back now."""
        return 0 if self.failure or self._lease.lost else self._buffer.reserved

    def use_algorithm(self, algorithm: str) -> None:
        """Hashes by another algorithm, as long as there are no bytes."""
        if self.offset == 0 and self.algorithm != algorithm:
            self._hash = new_hash(algorithm)

    def block_sums(self) -> bytes:
        """The sums of all blocks; only when nothing more comes."""
        if self.multipart:
            return b"".join(part.block_sums for part in self.parts)
        return self._buffer.sums + blocks.finish(self._running)

    # -- bytes come

    async def receive(self, data: bytes) -> None:
        """Takes bytes at the end; returns when they are hashed and their part is under way.

        Raises:
            Aborted: the lease, the upload or the tail is lost.
            FailedPrecondition: more than the parts of an upload can hold.
            Unavailable, ResourceExhausted: the store or Redis fails.
        """
        self._check()
        if self._closed:
            await self._reopen_closed()
        await self._settle_early()
        await self._reserve(len(data))
        try:
            taken = 0
            try:
                while taken < len(data):
                    stop = min(len(data), taken + self._room())
                    await self._take(data, taken, stop)
                    taken = stop
                    if self._buffer.size == self._part_size:
                        await self._send_full_part()
            finally:
                self._path.budget.release(len(data) - taken)
        finally:
            self._lock.release()
        self.last_used = self._path.clock()

    def _room(self) -> int:
        if not self._part_size:
            self._part_size = self._path.choose_part_size(self.total)
        if self._next > MAX_PARTS:
            raise FailedPrecondition(
                f"the blob is larger than {MAX_PARTS} parts of {self._part_size} bytes; declare "
                "its total in the first message, or raise HOLDFAST_PART_SIZE"
            )
        return self._part_size - self._buffer.size

    async def _reserve(self, amount: int) -> None:
        """Waits for buffer space, a tail's included, and returns with the lock held."""
        while True:
            spilled = self._buffer.size - self._buffer.reserved
            await self._path.budget.acquire(amount + spilled)
            try:
                await self._lock.acquire()
            except asyncio.CancelledError:
                self._path.budget.release(amount + spilled)
                raise
            if spilled == self._buffer.size - self._buffer.reserved:
                break
            self._lock.release()
            self._path.budget.release(amount + spilled)
        try:
            self._check()
            if spilled:
                await self._load_tail()
        except BaseException:
            self._lock.release()
            self._path.budget.release(amount + spilled)
            raise

    async def _take(self, data: bytes, start: int, stop: int) -> None:
        if stop - start > INLINE_HASHING:
            try:
                summed = await self._path.workers.hash(self._digest, data, start, stop)
            except asyncio.CancelledError:
                # The thread hashes on: the hash and the offset no longer belong together.
                self.failure = Aborted("the stream was cancelled")
                raise
        else:
            summed = self._digest(data, start, stop)
        sums, self._running = summed
        self._path.hashed(stop - start)
        self._buffer.sums += sums
        self._buffer.chunks.append(memoryview(data)[start:stop])
        self._buffer.size += stop - start
        self.offset += stop - start

    def _digest(self, data: bytes, start: int, stop: int) -> tuple[bytes, RunningSum]:
        if self._hash:
            self._hash.update(data, start, stop)
        return blocks.extend(self._running, memoryview(data)[start:stop])

    # -- parts go

    async def _send_full_part(self) -> None:
        state = self._hash.save() if self._hash else ""
        self._boundary_hash = state
        buffer, self._buffer = self._buffer, _Buffer([])
        job = _Job(self._next, buffer.chunks, buffer.size, buffer.sums, self.offset, state, True)
        self._next += 1
        await self._start(job, buffer.tail)

    async def _start(self, job: _Job, old_tail: str) -> asyncio.Task[None]:
        try:
            await self._in_flight.acquire()
        except asyncio.CancelledError:
            self._path.budget.release(job.size if job.full else 0)
            self.failure = self.failure or Aborted("the stream was cancelled")
            raise
        self._jobs = [task for task in self._jobs if not task.done()]
        previous = self._jobs[-1] if self._jobs else None
        task = asyncio.create_task(self._run(job, previous, old_tail))
        self._jobs.append(task)
        return task

    async def _run(self, job: _Job, previous: asyncio.Task[None] | None, old_tail: str) -> None:
        try:
            try:
                part = await self._put(job)
            finally:
                self._path.budget.release(job.size if job.full else 0)
            if previous:
                await asyncio.wait([previous])
            self._check()
            await self._checkpoint(job, part)
            if old_tail:
                self._path.background.start(self._discard_tail(old_tail))
        except NoSuchUpload:
            self.failure = self.failure or await self._upload_gone()
        except HoldfastError as error:
            self.failure = self.failure or error
        finally:
            self._in_flight.release()

    async def _put(self, job: _Job) -> StoredPart:
        upload = await self._ensure_upload()
        async with self._path.upload_slots:
            self._lease.check()
            body = b"".join(job.chunks)
            job.chunks = []
            stored = await self._path.workers.store(
                self._path.store.put_part, self.data_key, upload, job.number, body
            )
        self._path.stored(job.size)
        return StoredPart(stored.etag, job.size, job.sums)

    async def _ensure_upload(self) -> str:
        """The upload's id; it is created with the first full part."""
        if not self.upload_id:
            if self._upload is None:
                self._upload = asyncio.create_task(
                    self._path.workers.store(self._path.store.create_upload, self.data_key)
                )
            upload = await asyncio.shield(self._upload)
            self.upload_id, self.begun = upload.id, upload.date
        return self.upload_id

    async def _checkpoint(self, job: _Job, part: StoredPart) -> None:
        values: dict[str, Argument] = {
            "upload_id": self.upload_id,
            "begun": repr(self.begun),
            "part_size": self._part_size,
            "offset": job.end,
            "live": self.offset,
            "hash": job.hash_state,
            "crc": 0,
            "crc_filled": 0,
        }
        if job.full:
            values["boundary_hash"] = job.hash_state
        self._upload_named = True
        await self._path.ingests.checkpoint(
            self._lease,
            self.data_key,
            job.number,
            part,
            change=Change(values, TAIL_FIELDS),
            now_ns=self._path.now_ns(),
        )
        self.parts[job.number - 1 :] = [part]
        self.durable = job.end

    async def _upload_gone(self) -> HoldfastError:
        """An upload that a lifecycle rule took: the client has to start over."""
        try:
            await self._path.ingests.restart(
                self._lease, self.data_key, data_key(self._path.new_name()), self._path.now_ns()
            )
        except HoldfastError as error:
            return error
        return Aborted("the store has dropped the upload; ask STAT and start over at offset 0")

    # -- the last, short part

    async def send_early(self) -> None:
        """Begins to store what is left, because the declared total is reached.

        The bytes stay here: if more come after all, the part is sent again.
        """
        async with self._lock:
            if self._early or self._closed or not self._buffer.reserved:
                return
            if self.multipart:
                self._early = await self._send_short_part()
            elif self.offset > INLINE_LIMIT:
                self._single_put = True
                self._early = asyncio.create_task(self._put_single())

    async def _send_short_part(self) -> asyncio.Task[None]:
        buffer = self._buffer
        sums = buffer.sums + blocks.finish(self._running)
        state = self._hash.save() if self._hash else ""
        chunks = list(buffer.chunks)
        job = _Job(self._next, chunks, buffer.size, sums, self.offset, state, full=False)
        return await self._start(job, "")

    async def _put_single(self) -> None:
        try:
            async with self._path.upload_slots:
                self._lease.check()
                body = b"".join(self._buffer.chunks)
                written = await self._path.workers.store(self._path.store.put, self.data_key, body)
            self._path.stored(len(body))
            self.begun = written.date
        except HoldfastError as error:
            self.failure = self.failure or error

    async def _settle_early(self) -> None:
        """More bytes come after the declared total: takes back the early last part."""
        if self._early is None:
            return
        await asyncio.wait([self._early])
        self._early = None
        self._check()
        if self._single_put:
            # The object must never change, so the longer blob takes another name.
            self._single_put = False
            fresh = data_key(self._path.new_name())
            await self._path.ingests.rekey(self._lease, self.data_key, fresh)
            self.data_key, self.begun = fresh, None

    async def _reopen_closed(self) -> None:
        """More bytes come, but the short last part is stored and its bytes aren't here."""
        full = self.parts[:-1]
        boundary = sum(part.size for part in full)
        await self._path.ingests.rewind(self._lease, self.data_key, len(full), boundary)
        raise Aborted(
            f"the bytes after {boundary} can't be added to any more (the declared total was "
            "reached before the stream broke); ask STAT and go on from there"
        )

    # -- the end

    async def finish(self) -> None:
        """Stores all that was received, in parts or as one object.

        Raises:
            as `receive`.
        """
        self._check()
        if self.multipart and self._buffer.size and not self._early and not self._closed:
            await self._reserve(0)
            try:
                self._early = await self._send_short_part()
            finally:
                self._lock.release()
        await self._settle_jobs()
        self._check()

    async def put_single(self) -> None:
        """Stores a blob that fits one part as one object, if that isn't done yet."""
        if self._early is None:
            await self._reserve(0)
            try:
                self._single_put = True
                self._early = asyncio.create_task(self._put_single())
            finally:
                self._lock.release()
        await self._settle_jobs()
        self._check()

    @property
    def single_put_sent(self) -> bool:
        """Whether the blob was sent as one object."""
        return self._single_put

    async def body(self) -> bytes:
        """All bytes, where they fit one part."""
        await self._reserve(0)
        try:
            return b"".join(self._buffer.chunks)
        finally:
            self._lock.release()

    async def _settle_jobs(self) -> None:
        if waiting := [task for task in [*self._jobs, self._early] if task and not task.done()]:
            await asyncio.wait(waiting)

    async def spill(self) -> None:
        """Makes the unfinished part durable in a tail object and gives its buffer back.

        An error is kept and fails the stream at its next message.
        """
        async with self._lock:
            if not self._buffer.in_memory or not self._buffer.size:
                return
            try:
                await self._settle_jobs()
                self._check()
                if self.offset != self.durable:
                    await self._write_tail()
            except HoldfastError as error:
                self.failure = self.failure or error
            self._give_up_buffer()

    def _give_up_buffer(self) -> None:
        self._path.budget.release(self._buffer.reserved)
        if self.durable == self.offset and not self._buffer.tail and self.multipart:
            self._closed = True  # the short last part holds them
        self._buffer.chunks = []
        self._buffer.in_memory = False

    async def suspend(self) -> None:
        """Makes durable what was received, so that another stream can go on.

        Raises:
            as `receive`; then the durable offset says where to go on.
        """
        await self._settle_jobs()
        self._check()
        async with self._lock:
            if self._buffer.in_memory and self.offset != self.durable:
                await self._write_tail()

    async def _write_tail(self) -> None:
        self._lease.check()
        key, old = tail_key(self._path.new_name()), self._buffer.tail
        body = b"".join(self._buffer.chunks)
        async with self._path.upload_slots:
            await self._path.workers.store(self._path.store.put, key, body)
        self._path.stored(len(body))
        self._lease.check()
        values: dict[str, Argument] = {
            "tail_key": key,
            "tail_size": self._buffer.size,
            "tail_sums": self._buffer.sums.hex(),
            "offset": self.offset,
            "live": self.offset,
            "hash": self._hash.save() if self._hash else "",
            "crc": self._running.value,
            "crc_filled": self._running.filled,
        }
        await self._path.ingests.save(
            self._lease, self.data_key, Change(values), self._path.now_ns()
        )
        self._buffer.tail, self.durable = key, self.offset
        if old:
            self._path.background.start(self._discard_tail(old))

    async def _load_tail(self) -> None:
        """Reads back what a spill, or an earlier stream, left."""
        buffer = self._buffer
        try:
            fetched = await self._path.workers.store(self._path.store.get, buffer.tail)
            self._check_tail(fetched.body)
        except (NotFound, DataLoss) as error:
            full = self.parts
            boundary = sum(part.size for part in full)
            await self._path.ingests.rewind(self._lease, self.data_key, len(full), boundary)
            self.failure = Aborted(
                f"the bytes after {boundary} are lost ({error}); ask STAT and go on from there"
            )
            raise self.failure from error
        buffer.chunks, buffer.in_memory = [memoryview(fetched.body)], True

    def _check_tail(self, body: bytes) -> None:
        sums, running = blocks.extend(RunningSum(), body)
        if len(body) != self._buffer.size or (sums, running) != (self._buffer.sums, self._running):
            raise DataLoss(f"{self._buffer.tail} isn't what was written")

    def discard_tail(self) -> None:
        """The ingest has ended: its tail isn't needed any more."""
        if self._buffer.tail:
            self._path.background.start(self._discard_tail(self._buffer.tail))

    async def _discard_tail(self, key: str) -> None:
        await self._path.workers.store(self._path.store.delete, key)

    async def close(self) -> None:
        """Ends it: what is under way is cancelled, buffers are given back."""
        tasks = [task for task in [*self._jobs, self._early] if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._lock:
            self._path.budget.release(self._buffer.reserved)
            self._buffer = _Buffer([])
        self._path.budget.leave(self)
        if self._upload and not self._upload_named:
            self._path.background.start(self._abort_unnamed(self._upload))

    async def _abort_unnamed(self, creation: asyncio.Task[Upload]) -> None:
        """Drops an upload of which no checkpoint tells."""
        upload = await creation
        await self._path.workers.store(self._path.store.abort_upload, self.data_key, upload.id)

    def _check(self) -> None:
        if self.failure:
            raise self.failure
        self._lease.check()
