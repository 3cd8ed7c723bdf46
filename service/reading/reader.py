"""Reading blobs: records from a short-lived cache, bytes from verified blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import DataLoss, NotFound, OutOfRange, Unavailable
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.process.workers import Workers
from holdfast.service.reading.block_cache import BlockCache
from holdfast.service.reading.quarantine import Quarantine
from holdfast.storage.port import NoSuchKey
from holdfast.storage.records import BLOCK_SIZE, Record, Records, State

RECORD_TTL: Final = 30.0
"""Seconds for which a record is believed without asking: bytes never change, but a
record can be marked corrupt."""
RECORD_BUDGET: Final = 16 * 2**20
"""Bytes of records kept: a record has 4 for every 4 MiB, or an inline blob."""
RECORD_OVERHEAD: Final = 1024


class RecordCache:
    """Records read lately, with a byte budget."""

    def __init__(self, records: Records, workers: Workers, clock: Callable[[], float]) -> None:
        self._records = records
        self._workers = workers
        self._clock = clock
        self._kept: OrderedDict[Digest, tuple[float, Record]] = OrderedDict()
        self._size = 0

    def cached(self, digest: Digest) -> Record | None:
        """A record read less than 30 s ago."""
        entry = self._kept.get(digest)
        if entry is None or self._clock() >= entry[0]:
            return None
        return entry[1]

    async def get(self, digest: Digest, *, fresh: bool = False) -> Record | None:
        """The record of a digest; None if there is none."""
        found = None if fresh else self.cached(digest)
        if found is not None:
            return found
        seen = await self._workers.store(self._records.read, digest)
        self._drop(digest)
        if seen is None or not seen.record.readable:
            # A commit may heal it at any moment: it isn't kept.
            return seen.record if seen else None
        self._kept[digest] = (self._clock() + RECORD_TTL, seen.record)
        self._size += _weight(seen.record)
        while self._size > RECORD_BUDGET:
            self._drop(next(iter(self._kept)))
        return seen.record

    def forget(self, digest: Digest) -> None:
        """Reads the record afresh next time."""
        self._drop(digest)

    def _drop(self, digest: Digest) -> None:
        if entry := self._kept.pop(digest, None):
            self._size -= _weight(entry[1])


def _weight(record: Record) -> int:
    return RECORD_OVERHEAD + len(record.block_sums) + len(record.inline or b"")


class Reader:
    """Reads blobs for all tenants."""

    def __init__(
        self,
        records: RecordCache,
        cache: BlockCache,
        catalogue: Catalogue,
        quarantine: Quarantine,
        message_size: Callable[[], int],
    ) -> None:
        """Nothing is read yet.

        Args:
            records: of all blobs.
            cache: their blocks.
            catalogue: who holds what.
            quarantine: told of damage.
            message_size: bytes of the next message, at most.
        """
        self._message_size = message_size
        self._records = records
        self._cache = cache
        self._catalogue = catalogue
        self._quarantine = quarantine

    async def read(
        self, tenant: str, digest: Digest, offset: int, size: int
    ) -> AsyncIterator[tuple[int, memoryview]]:
        """Yields (offset from the requested one, bytes), in order, without gaps.

        Whoever takes a piece releases it before waiting for anything: a slow client must
        not keep a whole block from being given back.

        Args:
            tenant: who asks; needs a hold where contents aren't shared.
            digest: of the blob.
            offset: first byte; less than 0 counts as 0.
            size: bytes; 0 or less, or past the end, means to the end.

        Raises:
            NotFound: no such blob, or it is gone.
            OutOfRange: `offset` is past the end.
            DataLoss: stored bytes are not those that were committed.
        """
        if not self._catalogue.shared and not await self._catalogue.may_read(tenant, digest):
            raise NotFound(f"content {digest} not found")
        record = await self._find(tenant, digest, fresh=False)
        start = max(offset, 0)
        if start > record.size:
            raise OutOfRange(f"read of {digest} at offset {start}: it has {record.size} bytes")
        stop = record.size if size <= 0 else min(record.size, start + size)
        with self._cache.pace.reading(record.data_key, start // BLOCK_SIZE) as reading:
            position = start
            while position < stop:
                index = position // BLOCK_SIZE
                if index != reading.index:
                    await reading.step(index)
                end = min(stop, position + self._message_size(), (index + 1) * BLOCK_SIZE)
                self._cache.read(record, position, end)
                block = self._cache.cached(record, index)
                if block is None:
                    record, block = await self._checked(tenant, record, index)
                base = index * BLOCK_SIZE
                piece = memoryview(block)[position - base : end - base]
                del block
                yield position - start, piece
                position = end

    async def _checked(self, tenant: str, record: Record, index: int) -> tuple[Record, bytes]:
        """A block; where the bytes are damaged, what the cache says of them goes.

        The next Info then looks at the store, says NOT_FOUND where bytes are gone,
        and a commit of whoever has them heals it.
        """
        try:
            return await self._block(tenant, record, index)
        except (DataLoss, NotFound):
            self._records.forget(record.digest)
            await self._forget(tenant, record.digest)
            raise

    async def _forget(self, tenant: str, digest: Digest) -> None:
        with suppress(Unavailable):
            await self._catalogue.forget(tenant, digest)

    async def _find(self, tenant: str, digest: Digest, *, fresh: bool) -> Record:
        record = await self._records.get(digest, fresh=fresh)
        if record is None or record.state is State.TOMBSTONE:
            raise NotFound(f"content {digest} not found")
        if record.state is State.CORRUPT:
            await self._forget(tenant, digest)
            raise DataLoss(f"content {digest} was found to be damaged; a new commit of it heals it")
        return record

    async def _block(self, tenant: str, record: Record, index: int) -> tuple[Record, bytes]:
        """A block; where the bytes are gone or damaged, the record may name others by now.

        Damaged bytes were read twice by then. An object that is gone is looked for again,
        after its record was read again.
        """
        try:
            return record, await self._cache.get(record, index)
        except (NoSuchKey, DataLoss) as error:
            failure = error
        current = await self._find(tenant, record.digest, fresh=True)
        if current.size != record.size:
            raise _lost(record, failure)
        if isinstance(failure, DataLoss) and current.same_bytes(record):
            await self._quarantine.damaged(current)
            raise failure
        try:
            return current, await self._cache.get(current, index)
        except NoSuchKey as error:
            if current.data_key == record.data_key:
                await self._quarantine.damaged(current)
            raise _lost(current, error) from error
        except DataLoss:
            await self._quarantine.damaged(current)
            raise


def _lost(record: Record, failure: NoSuchKey | DataLoss) -> DataLoss:
    if isinstance(failure, DataLoss):
        return failure
    return DataLoss(
        f"content {record.digest}: its bytes ({record.data_key}) are gone from the store; "
        "a new commit of it heals it"
    )
