"""The state of one stream's writing, which its buffer, its parts and its tail share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Self

import structlog

from holdfast.coordination.ingest import Ingest
from holdfast.coordination.leases import RESUME, Lease
from holdfast.digests import CANONICAL, Digest
from holdfast.errors import Aborted, HoldfastError
from holdfast.service.ingest.hashing import ContentHash, load_hash, new_hash
from holdfast.service.ingest.write_messages import Received
from holdfast.service.ingest.write_path import WritePath
from holdfast.storage import blocks
from holdfast.storage.blocks import RunningSum
from holdfast.tasks import begin, failure

Parameters = ParamSpec("Parameters")

log = structlog.get_logger(__name__)

INLINE_HASHING: Final = 32 * 2**10
"""Bytes up to which hashing on the event loop is cheaper than in a thread."""


@dataclass(slots=True)
class Writing:
    """One stream's writing of one ingest.

    Attributes:
        path: the parts that all writers share.
        lease: the right to write.
        data_key: where the bytes go in the store.
        offset: bytes received, hashed and summed.
        durable: how many of them Redis and the store have.
        others: durable bytes of the tenant's other ingests, as Redis said last.
        part_size: bytes of a full part, 0 before it is chosen.
        hash: of the bytes up to `offset`; None if an ingest without a saved hash was resumed.
        running: the checksum of the block that isn't full yet.
        failure: the error that has ended the writing for good.
    """

    path: WritePath
    lease: Lease
    data_key: str
    offset: int
    durable: int
    part_size: int
    hash: ContentHash | None
    running: RunningSum
    others: int = 0
    failure: HoldfastError | None = None

    @classmethod
    def resume(cls, path: WritePath, lease: Lease, ingest: Ingest) -> Self:
        """Resumes an ingest where its durable bytes end.

        Raises:
            DataLoss: the saved hash state is damaged.
        """
        running: ContentHash | None
        if ingest.offset == 0:
            algorithm = Digest.parse(ingest.expected).algorithm if ingest.expected else CANONICAL
            running = new_hash(algorithm)
        else:
            running = load_hash(ingest.hash) if ingest.hash else None
        return cls(
            path=path,
            lease=lease,
            data_key=ingest.data_key,
            offset=ingest.offset,
            durable=ingest.offset,
            part_size=ingest.part_size,
            hash=running,
            running=RunningSum(ingest.crc, ingest.crc_filled),
        )

    def check(self) -> None:
        """Checks that the writing hasn't failed.

        Raises:
            HoldfastError: the failure that has ended the writing.
        """
        if self.failure:
            raise self.failure

    def check_lease(self) -> None:
        """Checks, right before bytes are sent to the store, that they may be.

        A part that is sent late would replace that of the ref's next stream.

        Raises:
            HoldfastError: the failure that has ended the writing.
            Aborted: the lease is lost.
        """
        self.check()
        self.lease.check()

    def fail(self, error: BaseException) -> None:
        """Ends the writing; only the first failure is kept and reported."""
        if self.failure:
            return
        if isinstance(error, HoldfastError):
            self.failure = error
        elif isinstance(error, asyncio.CancelledError):
            self.failure = Aborted(f"the stream was cancelled; {RESUME}")
        else:
            log.error("writer failed", exc_info=error)
            self.failure = HoldfastError(
                "writing failed, and the frontend's log says why; try again"
            )

    def begin(
        self,
        work: Callable[Parameters, Coroutine[Any, Any, None]],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> asyncio.Task[None]:
        """Begins a task that is cancelled if the lease is lost; its failure ends the writing."""

        async def guarded() -> None:
            with self.lease.guard():
                await work(*args, **kwargs)

        job = begin(guarded())
        job.add_done_callback(self._ended)
        return job

    def _ended(self, job: asyncio.Task[None]) -> None:
        if job.cancelled():
            self.fail(asyncio.CancelledError())
        elif error := failure(job):
            self.fail(error)

    def saved_hash(self) -> str:
        """The state of the hash at `offset`, or "" if it can't be saved."""
        return self.hash.save() if self.hash else ""

    async def digest(self, data: Received, start: int, stop: int) -> bytes:
        """Hashes and sums `data[start:stop]`; returns the checksums of the blocks it filled."""
        if stop - start <= INLINE_HASHING:
            return self.digest_at_once(data, start, stop)
        try:
            summed = await self.path.hashing.hash(self._digest, data, start, stop)
        except BaseException as error:
            # The thread may continue to hash: the hash and the offset no longer belong together.
            self.fail(error)
            raise
        return self._digested(summed, stop - start)

    def digest_at_once(self, data: Received, start: int, stop: int) -> bytes:
        """Does the same as `digest`, on the event loop; for at most `INLINE_HASHING` bytes."""
        return self._digested(self._digest(data, start, stop), stop - start)

    def _digested(self, summed: tuple[bytes, RunningSum], size: int) -> bytes:
        sums, self.running = summed
        self.path.hashed(size)
        self.offset += size
        return sums

    def _digest(self, data: Received, start: int, stop: int) -> tuple[bytes, RunningSum]:
        if self.hash:
            self.hash.update(data, start, stop)
        return blocks.extend(self.running, memoryview(data)[start:stop])
