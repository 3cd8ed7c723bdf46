"""Reads blobs: records from a short-lived cache, bytes from verified blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Final, Protocol

from holdfast.digests import Digest
from holdfast.errors import DataLoss, NotFound, OutOfRange, Unavailable
from holdfast.service.reading.pace import ReaderPace
from holdfast.service.store.records import AsyncRecords
from holdfast.storage.port import NoSuchKey
from holdfast.storage.records import BLOCK_SIZE, Record, State

RECORD_TTL: Final = 30.0
"""Seconds for which a cached record is trusted: bytes never change, but a record can be marked
corrupt."""
RECORD_BUDGET: Final = 16 * 2**20
"""Bytes of records kept: a record has 4 bytes for every 4 MiB of its blob, or an inline blob."""
RECORD_OVERHEAD: Final = 1024


class RecordSource(Protocol):
    """Where a reader finds what the store says of a digest."""

    def cached(self, digest: Digest) -> Record | None:
        """Returns a record that is known without waiting; None if none is."""
        ...

    async def get(self, digest: Digest, *, fresh: bool = False) -> Record | None:
        """Returns the record of a digest; None if there is none. `fresh` asks for it anew."""
        ...

    def forget(self, digest: Digest) -> None:
        """Drops what is known of a digest."""
        ...


class VerifiedBlocks(Protocol):
    """Where a reader finds bytes: see `BlockCache`."""

    @property
    def pace(self) -> ReaderPace:
        """The pace of the readers."""
        ...

    def cached(self, record: Record, index: int) -> bytes | None:
        """Returns a block if it is in memory, without waiting; None if it isn't."""
        ...

    async def get(self, record: Record, index: int) -> bytes:
        """Returns a verified block."""
        ...

    def read(self, record: Record, start: int, stop: int) -> None:
        """Notes that bytes are being read."""
        ...


class Readable(Protocol):
    """Which tenants may read what.

    Attributes:
        shared: whether each may read everything.
    """

    shared: bool

    async def may_read(self, tenant: str, digest: Digest) -> bool:
        """Returns whether a tenant may read a digest, where not everything is shared."""
        ...

    async def forget(self, tenant: str, digest: Digest) -> None:
        """Has whatever is remembered of a digest be looked up anew."""
        ...


class DamageReport(Protocol):
    """Who is told of damaged bytes."""

    async def damaged(self, record: Record) -> None:
        """Handles the bytes of a record that were found damaged twice; never fails."""
        ...


class RecordCache:
    """Records that were read recently, within a byte budget."""

    def __init__(self, records: AsyncRecords, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._kept: OrderedDict[Digest, tuple[float, Record]] = OrderedDict()
        self._size = 0

    def cached(self, digest: Digest) -> Record | None:
        """Returns the record if it was read less than 30 s ago."""
        entry = self._kept.get(digest)
        if entry is None or self._clock() >= entry[0]:
            return None
        return entry[1]

    async def get(self, digest: Digest, *, fresh: bool = False) -> Record | None:
        """Returns the record of a digest; None if there is none. `fresh` bypasses the cache.

        While the store can't be asked, an older record counts: the bytes that it names never
        change, and blocks that are at hand are served.
        """
        found = None if fresh else self.cached(digest)
        if found is not None:
            return found
        try:
            seen = await self._records.read(digest)
        except Unavailable:
            if fresh or digest not in self._kept:
                raise
            return self._kept[digest][1]
        self._drop(digest)
        if seen is None or not seen.record.readable:
            # A commit may heal it at any moment, so it isn't cached.
            return seen.record if seen else None
        self._kept[digest] = (self._clock() + RECORD_TTL, seen.record)
        self._size += _weight(seen.record)
        while self._size > RECORD_BUDGET:
            self._drop(next(iter(self._kept)))
        return seen.record

    def forget(self, digest: Digest) -> None:
        """Drops a record, so that the next `get` reads it from the store."""
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
        records: RecordSource,
        cache: VerifiedBlocks,
        catalogue: Readable,
        quarantine: DamageReport,
        message_size: Callable[[], int],
    ) -> None:
        """Puts a reader together; it reads nothing yet.

        Args:
            records: has the records.
            cache: the cache of blocks.
            catalogue: knows what tenants hold.
            quarantine: is told of damage.
            message_size: returns the largest size of the next message, in bytes.
        """
        self._message_size = message_size
        self._records = records
        self._cache = cache
        self._catalogue = catalogue
        self._quarantine = quarantine

    async def read(
        self, tenant: str, digest: Digest, offset: int, size: int
    ) -> AsyncGenerator[tuple[int, memoryview], None]:
        """Yields (offset from the requested one, bytes), in order, without gaps.

        The caller must release a piece before it waits for anything, so that a slow client
        doesn't keep a whole block in memory.

        Args:
            tenant: the tenant that asks; it needs a hold if contents aren't shared.
            digest: the digest of the blob.
            offset: the first byte; less than 0 counts as 0.
            size: how many bytes; 0 or less, or past the end, means to the end.

        Raises:
            NotFound: there is no such blob, or it is gone.
            OutOfRange: `offset` is past the end.
            DataLoss: the stored bytes aren't those that were committed.
        """
        record = await self.describe(tenant, digest)
        start = max(offset, 0)
        if start > record.size:
            raise OutOfRange(f"read of {digest} at offset {start}: it has {record.size} bytes")
        stop = _end(record, start, size)
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

    async def describe(self, tenant: str, digest: Digest) -> Record:
        """Returns the record by which a tenant may read a blob.

        Raises:
            NotFound: there is no such blob, or it is gone.
            DataLoss: the stored bytes aren't those that were committed.
        """
        if not self._catalogue.shared and not await self._catalogue.may_read(tenant, digest):
            raise NotFound(f"content {digest} not found")
        return self._records.cached(digest) or await self._find(tenant, digest, fresh=False)

    def read_at_once(self, digest: Digest, offset: int, size: int, most: int) -> memoryview | None:
        """Returns all bytes of a read whose record and block are in memory.

        None if there are no bytes, or more than `most`, or anything has to be waited for: then
        call `read`. The other arguments are those of `read`.
        """
        record = self._records.cached(digest) if self._catalogue.shared else None
        if record is None:
            return None
        start = max(offset, 0)
        stop = _end(record, start, size)
        index = start // BLOCK_SIZE
        base = index * BLOCK_SIZE
        if not start < stop <= min(start + most, base + BLOCK_SIZE):
            return None
        block = self._cache.cached(record, index)
        if block is None:
            return None
        self._cache.read(record, start, stop)
        return memoryview(block)[start - base : stop - base]

    async def _checked(self, tenant: str, record: Record, index: int) -> tuple[Record, bytes]:
        """Returns a block; if the bytes are damaged or gone, makes the caches forget the digest.

        Then the next Info asks the store and answers NOT_FOUND if the bytes are gone, and a
        commit by a client that has the bytes heals the blob.
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
        """Returns a block; if its bytes are gone or damaged, looks whether the record names others.

        Damaged bytes have already been read twice. If an object is gone, its record is read
        again, and then the object that the record names.
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


def _end(record: Record, start: int, size: int) -> int:
    """Returns where a read of `size` bytes ends; 0 or less means all that there are."""
    return record.size if size <= 0 else min(record.size, start + size)


def _lost(record: Record, failure: NoSuchKey | DataLoss) -> DataLoss:
    if isinstance(failure, DataLoss):
        return failure
    return DataLoss(
        f"content {record.digest}: its bytes ({record.data_key}) are gone from the store; "
        "a new commit of it heals it"
    )
