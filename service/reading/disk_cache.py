"""The block cache on disk, below the one in memory: faster than the store, never trusted.

A block that can't be read from this cache, for whatever reason, is fetched from the store, and
then written here in the background, or not at all. A disk that fails isn't used for a while, and
never makes a read fail.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from pydantic import ByteSize

from holdfast.checks import Check
from holdfast.errors import ConfigurationError, DataLoss, because
from holdfast.service.process.metrics import Metrics
from holdfast.service.reading.block_files import LAYOUT, BlockFiles, usage_of
from holdfast.service.settings import Settings
from holdfast.storage.records import Record
from holdfast.tasks import begin, failure

log = structlog.get_logger(__name__)

READERS: Final = 4
"""Threads that read: enough to fill the queue of a fast disk."""
MOST_WRITING: Final = 8
"""Most blocks that wait to be written; they occupy 32 MiB of memory."""
PATIENCE: Final = 5.0
"""Seconds after which a read counts as failed, because the store is faster by then."""
REST: Final = 30.0
"""Seconds for which a disk that failed isn't used."""
CLOSING: Final = 2.0
"""Seconds that `close` waits for the block that is being written."""


class _Spell:
    """A period in which the disk fails; its beginning and its end are logged, once each."""

    def __init__(self, doing: str, clock: Callable[[], float]) -> None:
        self._doing = doing
        self._clock = clock
        self._until = 0.0
        self.failing = False

    @property
    def rests(self) -> bool:
        """Whether the disk must not be used yet."""
        return self.failing and self._clock() < self._until

    def failed(self, error: BaseException) -> None:
        """Begins a spell, or prolongs it."""
        if not self.failing:
            log.warning(
                "disk cache failed; blocks come from the store",
                doing=self._doing,
                reason=because(error),
            )
        self.failing = True
        self._until = self._clock() + REST

    def worked(self) -> None:
        """Ends the spell, unless the disk rests: the call that worked may have begun before it."""
        if self.failing and not self.rests:
            self.failing = False
            log.info("disk cache works again", doing=self._doing)


class DiskCache:
    """Blocks on disk, which are read and written in threads of their own."""

    def __init__(
        self, files: BlockFiles, clock: Callable[[], float], patience: float = PATIENCE
    ) -> None:
        """Touches nothing yet.

        Args:
            files: has the blocks.
            clock: monotonic, in s.
            patience: seconds after which a read counts as failed.
        """
        self._files = files
        self._patience = patience
        self._readers = ThreadPoolExecutor(READERS, "disk-read")
        self._writer = ThreadPoolExecutor(1, "disk-write")
        self._reading, self._writing = _Spell("reading", clock), _Spell("writing", clock)
        self._pending: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.hits = self.misses = self.damaged = self.dropped = self.errors = 0

    @property
    def size(self) -> int:
        """Bytes that all files counted for when this process last wrote one."""
        return self._files.used

    @property
    def evicted(self) -> int:
        """Blocks that this process has removed to make room."""
        return self._files.evicted

    async def start(self) -> None:
        """Creates the folder, and begins to count its files in the background.

        Raises:
            ConfigurationError: the folder can't be created or written to.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self._files.prepare)
        except OSError as error:
            raise ConfigurationError(
                f"the folder of the disk cache can't be used: {because(error)}; name another "
                "one with HOLDFAST_DISK_CACHE_DIR, or set HOLDFAST_DISK_CACHE_BUDGET to 0"
            ) from error
        self._begin(self._take_stock)

    def _take_stock(self) -> None:
        if self._files.recount() and (missing := self._files.missing()):
            log.warning(
                "disk cache budget exceeds the free space on its disk",
                missing_bytes=missing,
            )

    async def read(self, record: Record, index: int) -> bytes | None:
        """Returns a verified block; None if it must be fetched from the store."""
        body = None
        if not self._reading.rests:
            body = await self._attempt(record, index)
        if body is None:
            self.misses += 1
        else:
            self.hits += 1
        return body

    async def _attempt(self, record: Record, index: int) -> bytes | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience):
                body = await loop.run_in_executor(self._readers, self._files.read, record, index)
        except DataLoss:
            self.damaged += 1
            return None
        except OSError as error:  # TimeoutError is an OSError, too
            self.errors += 1
            self._reading.failed(error)
            return None
        self._reading.worked()
        return body

    def write(self, record: Record, index: int, body: bytes) -> None:
        """Begins to write a verified block; drops it if the disk fails or is too slow."""
        if self._closed or self._writing.rests or len(self._pending) >= MOST_WRITING:
            self.dropped += 1
            return
        self._begin(self._write, record, index, body)

    def _write(self, record: Record, index: int, body: bytes) -> bool:
        if self._writing.failing:
            self._files.prepare()  # somebody may have removed the folder
        return self._files.write(record, index, body)

    def remove(self, record: Record) -> None:
        """Begins to remove all blocks of a blob."""
        if not self._closed:
            self._begin(self._files.remove, record)

    def _begin(self, call: Callable[..., bool | None], *args: object) -> None:
        writing = begin(self._in_its_turn(call, *args))
        self._pending.add(writing)
        writing.add_done_callback(self._ended)

    async def _in_its_turn(self, call: Callable[..., bool | None], *args: object) -> bool | None:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call, *args)

    def _ended(self, writing: asyncio.Task[bool | None]) -> None:
        self._pending.discard(writing)
        if writing.cancelled():
            return
        error = failure(writing)
        if error is not None:
            self.errors += 1
            self._writing.failed(error)
            return
        self._writing.worked()
        if writing.result() is False:
            self.dropped += 1

    async def close(self) -> None:
        """Drops blocks that wait to be written; waits 2 s at most for the one being written."""
        self._closed = True
        for pool in (self._readers, self._writer):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._pending:
            await asyncio.wait(self._pending, timeout=CLOSING)
        for writing in list(self._pending):
            writing.cancel()


@asynccontextmanager
async def disk_cache(settings: Settings, metrics: Metrics) -> AsyncIterator[DiskCache | None]:
    """Runs the cache that `settings` ask for, and adds its metrics; None if they ask for none.

    Raises:
        ConfigurationError: its folder can't be created or written to.
    """
    if not settings.disk_cache_budget:
        yield None
        return
    files = BlockFiles(settings.disk_cache_folder, settings.disk_cache_budget, time.time_ns)
    disk = DiskCache(files, time.monotonic)
    try:
        await disk.start()
        _gauges(metrics, disk)
        yield disk
    finally:
        await disk.close()


def _gauges(metrics: Metrics, disk: DiskCache) -> None:
    metrics.gauge(
        "holdfast_disk_cache_bytes",
        "Bytes of blocks on disk, of all processes that share the folder.",
        lambda: disk.size,
    )
    metrics.counter("holdfast_disk_cache_hits", "Blocks found on disk.", lambda: disk.hits)
    metrics.counter("holdfast_disk_cache_misses", "Blocks not found on disk.", lambda: disk.misses)
    metrics.counter(
        "holdfast_disk_cache_damaged",
        "Damaged files that were removed.",
        lambda: disk.damaged,
    )
    metrics.counter(
        "holdfast_disk_cache_dropped",
        "Blocks that were fetched, but not written to disk.",
        lambda: disk.dropped,
    )
    metrics.counter(
        "holdfast_disk_cache_evicted",
        "Blocks that this process removed to make room.",
        lambda: disk.evicted,
    )
    metrics.counter("holdfast_disk_cache_errors", "Failures of the disk.", lambda: disk.errors)


def look(settings: Settings) -> Iterator[Check]:
    """Checks the folder, for `holdfast doctor`, without changing anything."""
    if not settings.disk_cache_budget:
        return
    folder = settings.disk_cache_folder
    name = f"disk cache {folder}"
    there = (folder / LAYOUT).absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        advice = "let this user write there, or name another one with HOLDFAST_DISK_CACHE_DIR"
        found = f"{there} isn't a folder that this user can write to"
        yield Check(name, ok=False, essential=True, found=found, advice=advice)
        return
    disk, budget = os.statvfs(there), settings.disk_cache_budget
    free, used = ByteSize(disk.f_bavail * disk.f_frsize), ByteSize(usage_of(folder))
    yield Check(
        name,
        ok=free + used >= budget,
        essential=False,
        found=f"{used.human_readable()} of {budget.human_readable()} used, "
        f"{free.human_readable()} free on the disk",
        advice="make room, or lower HOLDFAST_DISK_CACHE_BUDGET",
    )
