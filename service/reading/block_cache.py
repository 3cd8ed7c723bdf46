"""Blocks of blobs, each verified once, fetched once however many want it.

A cache in memory with a byte budget: least recently used goes first. Below it there may
be one on disk. Blocks are immutable (a data key is never used again), so nothing is
ever invalidated. A block that doesn't match its sum is fetched once more before it counts
as damaged.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.deadlines import unbounded
from holdfast.service.process.workers import Workers
from holdfast.service.reading.disk_cache import DiskCache
from holdfast.service.reading.pace import Pace
from holdfast.storage import blocks
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, Record, block_count
from holdfast.tasks import begin, failure, wait_for_end

MAX_AHEAD: Final = 8
"""Blocks that are read ahead at most: 32 MiB."""
TRACKED: Final = 4096
"""Blobs whose reading is watched for being sequential."""

BlockId = tuple[str, int]


@dataclass(slots=True)
class _Trail:
    """Where reading of a blob went on last, and how far ahead it pays to read."""

    end: int
    window: int


class BlockCache:
    """Verified blocks in memory, and the fetches that are under way."""

    def __init__(
        self,
        store: ObjectStore,
        workers: Workers,
        budget: int,
        fetches: int,
        disk: DiskCache | None = None,
        *,
        misread: Callable[[], None] = lambda: None,
    ) -> None:
        """Makes an empty cache.

        Args:
            store: where data objects are.
            workers: for fetching.
            budget: bytes that may be kept.
            fetches: how many blocks are fetched at once.
            disk: where blocks are looked for before they are fetched.
            misread: called, in a thread, for a block that was well when it was fetched again.
        """
        self._store = store
        self._workers = workers
        self._budget = budget
        self._disk = disk
        self._misread = misread
        self._slots = asyncio.Semaphore(fetches)
        self._blocks: OrderedDict[BlockId, bytes] = OrderedDict()
        self._size = 0
        self._fetching: dict[BlockId, asyncio.Task[bytes]] = {}
        self._trails: OrderedDict[str, _Trail] = OrderedDict()
        self.pace = Pace(budget // BLOCK_SIZE - MAX_AHEAD - 1, time.monotonic)
        self.hits = self.misses = 0

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._size

    def cached(self, record: Record, index: int) -> bytes | None:
        """A block that is in memory, without waiting."""
        if record.inline is not None:
            return record.inline
        found = self._blocks.get((record.data_key, index))
        if found is not None:
            self._blocks.move_to_end((record.data_key, index))
            self.hits += 1
        return found

    async def get(self, record: Record, index: int) -> bytes:
        """A block, verified.

        Raises:
            NoSuchKey: the data object is gone; read the record again.
            DataLoss: the bytes are not those that were committed, by two readings.
        """
        found = self.cached(record, index)
        if found is not None:
            return found
        self.misses += 1
        # A reader that goes away must not take the block from others that wait for it.
        return await wait_for_end(self._fetch(record, index))

    def _fetch(self, record: Record, index: int) -> asyncio.Task[bytes]:
        key = (record.data_key, index)
        task = self._fetching.get(key)
        if task is None:
            with unbounded():  # others may want it, too
                task = begin(self._load(record, index))
            self._fetching[key] = task
            task.add_done_callback(lambda done: self._fetched(key, done))
        return task

    async def _load(self, record: Record, index: int) -> bytes:
        async with self._slots:
            found = await self._disk.read(record, index) if self._disk else None
            if found is not None:
                return found
            body = await self._workers.bulk(
                blocks.fetch_surely, self._store, record, index, self._misread
            )
            if self._disk:
                self._disk.write(record, index, body)
            return body

    def _fetched(self, key: BlockId, task: asyncio.Task[bytes]) -> None:
        del self._fetching[key]
        if task.cancelled() or failure(task):
            return  # whoever waits is told; a read-ahead in vain harms nobody
        body = task.result()
        self._blocks[key] = body
        self._size += len(body)
        while self._size > self._budget and self._blocks:
            _, old = self._blocks.popitem(last=False)
            self._size -= len(old)

    def read(self, record: Record, start: int, stop: int) -> None:
        """Notes that bytes are being read, and reads ahead if that goes in order.

        Also across requests: containerd reads a layer by one request for every
        32 KiB.
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
        """Less when many read: what is read ahead must still be there when it is wanted."""
        share = self._budget // (BLOCK_SIZE * max(1, len(self._fetching)))
        return max(1, min(MAX_AHEAD, share))

    async def close(self) -> None:
        """Cancels what is being fetched."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
