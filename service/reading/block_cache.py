"""Blocks of blobs: each is verified once, and fetched once for all concurrent readers.

This is a cache in memory with a byte budget, which evicts the least recently used block first.
Below it there may be a cache on disk. Blocks are immutable (a data key is never reused), so
nothing becomes invalid. A block that doesn't match its sum is fetched once more before it
counts as damaged. If a fetch fails that was begun by another record of the same bytes, a reader
begins its own: an agent's tenants have different rights.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from holdfast.deadlines import unbounded
from holdfast.errors import DataLoss, HoldfastError
from holdfast.service.reading.disk_cache import DiskCache
from holdfast.service.reading.pace import ReaderPace
from holdfast.storage.records import BLOCK_SIZE, Record, block_count
from holdfast.tasks import begin, failure, wait_for_end

MAX_AHEAD: Final = 8
"""Most blocks that are read ahead: 32 MiB."""
TRACKED: Final = 4096
"""Blobs that are tracked to detect sequential reading."""

BlockId = tuple[str, int]
Check = Callable[[Record, int, bytes], Awaitable[None]]


class Blocks(Protocol):
    """Where blocks come from: the store, or another frontend."""

    async def block(self, record: Record, index: int) -> bytes:
        """Reads a block of a blob that is intact, and verifies it.

        Raises:
            NoSuchKey: its bytes are gone.
            DataLoss: the bytes were read twice, and aren't those that were committed.
        """
        ...


@dataclass(slots=True)
class _Trail:
    """Where the last read of a blob ended, and how many blocks are read ahead from there."""

    end: int
    window: int


@dataclass(frozen=True, slots=True)
class _Fetch:
    """A block on its way, by the record of the reader that was the first to need it."""

    record: Record
    task: asyncio.Task[bytes]


class BlockCache:
    """Verified blocks in memory, and the fetches under way."""

    def __init__(
        self,
        store: Blocks,
        budget: int,
        fetches: int,
        disk: DiskCache | None = None,
        check: Check | None = None,
    ) -> None:
        """Makes an empty cache.

        Args:
            store: has the blocks.
            budget: bytes of blocks that may be kept.
            fetches: how many blocks are fetched concurrently.
            disk: is asked for a block before the block is fetched.
            check: raises DataLoss if a block from the disk isn't what it was before.
        """
        self._store = store
        self._budget = budget
        self._disk = disk
        self._check = check
        self._slots = asyncio.Semaphore(fetches)
        self._blocks: OrderedDict[BlockId, bytes] = OrderedDict()
        self._size = 0
        self._fetching: dict[BlockId, _Fetch] = {}
        self._trails: OrderedDict[str, _Trail] = OrderedDict()
        self.pace = ReaderPace(budget // BLOCK_SIZE - MAX_AHEAD - 1, time.monotonic)
        self.hits = self.misses = 0

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._size

    def cached(self, record: Record, index: int) -> bytes | None:
        """Returns a block if it is in memory, without waiting; None if it isn't."""
        if record.inline is not None:
            return record.inline
        found = self._blocks.get((record.data_key, index))
        if found is not None:
            self._blocks.move_to_end((record.data_key, index))
            self.hits += 1
        return found

    async def get(self, record: Record, index: int) -> bytes:
        """Returns a verified block, from memory, the disk or the store.

        Raises:
            NoSuchKey: the data object is gone; read the record again.
            DataLoss: the bytes were read twice, and aren't those that were committed.
        """
        found = self.cached(record, index)
        if found is not None:
            return found
        self.misses += 1
        while True:
            fetch = self._fetch(record, index)
            try:
                # A reader that goes away must not cancel the fetch that others wait for.
                return await wait_for_end(fetch.task)
            except HoldfastError:
                # The rights of whoever began it may have been others.
                if fetch.record == record:
                    raise

    def _fetch(self, record: Record, index: int) -> _Fetch:
        key = (record.data_key, index)
        fetch = self._fetching.get(key)
        if fetch is None:
            with unbounded():  # other readers may wait for it, too
                task = begin(self._load(record, index))
            self._fetching[key] = fetch = _Fetch(record, task)
            task.add_done_callback(lambda done: self._fetched(key, done))
        return fetch

    async def _load(self, record: Record, index: int) -> bytes:
        async with self._slots:
            found = await self._on_disk(record, index)
            if found is not None:
                return found
            body = await self._store.block(record, index)
            if self._disk:
                self._disk.write(record, index, body)
            return body

    async def _on_disk(self, record: Record, index: int) -> bytes | None:
        found = await self._disk.read(record, index) if self._disk else None
        if found is not None and self._check is not None:
            try:
                await self._check(record, index, found)
            except DataLoss:
                self.forget(record)
                return None
        return found

    def forget(self, record: Record) -> None:
        """Drops a blob's blocks from memory and from the disk: they may be wrong."""
        for index in range(block_count(record.size)):
            dropped = self._blocks.pop((record.data_key, index), None)
            self._size -= len(dropped or b"")
        if self._disk:
            self._disk.remove(record)

    def _fetched(self, key: BlockId, task: asyncio.Task[bytes]) -> None:
        del self._fetching[key]
        if task.cancelled() or failure(task):
            return  # those who wait get the error; a failed read-ahead harms nobody
        body = task.result()
        self._blocks[key] = body
        self._size += len(body)
        while self._size > self._budget and self._blocks:
            _, old = self._blocks.popitem(last=False)
            self._size -= len(old)

    def read(self, record: Record, start: int, stop: int) -> None:
        """Notes that bytes are being read, and reads ahead if the reading is sequential.

        Sequential reading is detected across requests, too: containerd reads a layer with one
        request for every 32 KiB.
        """
        if record.inline is not None:
            return
        trail = self._trails.pop(record.data_key, None)
        if trail is None or not trail.end - BLOCK_SIZE <= start <= trail.end:
            trail = _Trail(stop, 1 if start == 0 else 0)
        elif stop > trail.end:
            if start // BLOCK_SIZE != stop // BLOCK_SIZE or not trail.window:
                trail.window = min(max(1, 2 * trail.window), self._most_ahead())
            trail.end = stop
        self._trails[record.data_key] = trail
        if len(self._trails) > TRACKED:
            self._trails.popitem(last=False)
        first = (stop - 1) // BLOCK_SIZE + 1
        last = min(first + trail.window, block_count(record.size))
        for index in range(first, last):
            if (record.data_key, index) not in self._blocks:
                self._fetch(record, index)

    def _most_ahead(self) -> int:
        """Returns fewer blocks the more are being fetched: they must not be evicted before use."""
        share = self._budget // (BLOCK_SIZE * max(1, len(self._fetching)))
        return max(1, min(MAX_AHEAD, share))

    async def close(self) -> None:
        """Cancels the fetches under way."""
        tasks = [fetch.task for fetch in self._fetching.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
