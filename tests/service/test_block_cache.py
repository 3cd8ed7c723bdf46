"""Verified blocks: fetched once, bounded in memory, read ahead where that pays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.service.process.permits import nothing
from holdfast.service.process.workers import Workers
from holdfast.service.reading.block_cache import TRACKED, BlockCache
from holdfast.service.store.threads import Threads
from holdfast.storage import blocks
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import BLOCK_SIZE, Record, State
from tests.service.conftest import Fill
from tests.service.fleet import eventually
from tests.stores.counting import CountingStore

KEY = "data/blob"


@pytest.fixture
def counting(folder_store: ObjectStore) -> CountingStore:
    """A folder that counts what is fetched from it."""
    return CountingStore(folder_store)


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """Threads for fetching."""
    workers = Workers(8, 1)
    yield workers
    await workers.close(10.0)


def stored(store: ObjectStore | CountingStore, data: bytes, key: str = KEY) -> Record:
    """A record whose bytes are in the store."""
    store.put(key, data)
    return Record(
        digest=Digest.of(data),
        state=State.LIVE,
        size=len(data),
        created_at_ns=0,
        data_key=key,
        block_sums=blocks.sums_of(data),
        nonce="",
    )


def cache_of(store: CountingStore, workers: Workers, blocks_kept: int = 4) -> BlockCache:
    """A cache of a few blocks."""
    return BlockCache(Threads(store, workers, nothing), blocks_kept * BLOCK_SIZE, 4)


async def test_one_fetch_for_all(counting: CountingStore, workers: Workers, fill: Fill) -> None:
    """However many want a block at once, it is fetched once."""
    cache, data = cache_of(counting, workers), fill(BLOCK_SIZE + 10)
    record = stored(counting, data)
    found = await asyncio.gather(*(cache.get(record, 1) for _ in range(20)))
    assert set(found) == {data[BLOCK_SIZE:]}
    assert await cache.get(record, 1) == data[BLOCK_SIZE:]
    assert counting.operations("data/") == ["put", "get"]
    assert (cache.hits, cache.misses, cache.size) == (1, 20, 10)


async def test_reader_that_goes_away(counting: CountingStore, workers: Workers, fill: Fill) -> None:
    """A reader that goes away doesn't take the block from another that waits for it."""
    cache, data = cache_of(counting, workers), fill(100)
    record, go = stored(counting, data), threading.Event()
    counting.before = lambda name, _: (go.wait(), None)[1] if name == "get" else None
    gone, stays = (asyncio.create_task(cache.get(record, 0)) for _ in range(2))
    await eventually(lambda: cache._fetching)
    gone.cancel()
    await asyncio.wait([gone])
    go.set()
    assert await stays == data


async def test_budget(counting: CountingStore, workers: Workers, fill: Fill) -> None:
    """What was used least lately goes, and memory stays within the budget."""
    cache = cache_of(counting, workers, blocks_kept=2)
    record = stored(counting, fill(4 * BLOCK_SIZE))
    for index in (0, 1, 0, 2):
        await cache.get(record, index)
        assert cache.size <= 2 * BLOCK_SIZE
    assert cache.cached(record, 1) is None
    assert cache.cached(record, 0) is not None


async def test_inline(counting: CountingStore, workers: Workers) -> None:
    """Bytes that are in the record need no fetch and no place in the cache."""
    cache = cache_of(counting, workers)
    record = Record(
        Digest.of(b"hello"), State.LIVE, 5, 0, KEY, blocks.sums_of(b"hello"), "", inline=b"hello"
    )
    cache.read(record, 0, 5)
    assert await cache.get(record, 0) == b"hello"
    assert (cache.size, counting.calls) == (0, [])


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), DataLoss),
        (lambda body: body[:-1], DataLoss),
        (lambda _: None, NoSuchKey),
    ],
    ids=["edited", "truncated", "gone"],
)
async def test_not_what_was_committed(
    counting: CountingStore, workers: Workers, fill: Fill, edit: object, error: type[Exception]
) -> None:
    """Bytes that are damaged or gone are an error to each who asks, and aren't kept."""
    cache, data = cache_of(counting, workers), fill(1000)
    record = stored(counting, data)
    assert callable(edit)
    body = edit(data)
    if body is None:
        counting.delete(KEY)
    else:
        counting.put(KEY, body)
    for _ in range(2):
        with pytest.raises(error):
            await cache.get(record, 0)
    assert cache.size == 0
    counting.put(KEY, data)
    assert await cache.get(record, 0) == data


async def test_sequential_reading_runs_ahead(
    counting: CountingStore, workers: Workers, fill: Fill
) -> None:
    """Reading in order, also in small requests, fetches further and further ahead, once each."""
    cache = cache_of(counting, workers, blocks_kept=8)
    record = stored(counting, fill(8 * BLOCK_SIZE))
    ahead = []
    for start in range(0, 6 * BLOCK_SIZE, BLOCK_SIZE // 2):
        stop = start + BLOCK_SIZE // 2
        cache.read(record, start, stop)
        await cache.get(record, start // BLOCK_SIZE)
        await eventually(lambda: not cache._fetching)
        ahead.append(max(index for _, index in cache._blocks) - start // BLOCK_SIZE)
    assert ahead[0] == 1
    assert max(ahead) > 2
    assert counting.operations(KEY).count("get") == 8


async def test_random_reading_fetches_nothing_ahead(
    counting: CountingStore, workers: Workers, fill: Fill
) -> None:
    """Reading out of order fetches only what is asked for."""
    cache = cache_of(counting, workers, blocks_kept=8)
    record = stored(counting, fill(8 * BLOCK_SIZE))
    for index in (5, 2, 7):
        cache.read(record, index * BLOCK_SIZE + 10, index * BLOCK_SIZE + 20)
        await cache.get(record, index)
    assert counting.operations(KEY).count("get") == 3


async def test_trails_are_bounded(counting: CountingStore, workers: Workers, fill: Fill) -> None:
    """However many blobs are read, only so many are watched."""
    cache, record = cache_of(counting, workers), stored(counting, fill(10))
    for number in range(TRACKED + 5):
        blob = Record(record.digest, State.LIVE, 10, 0, f"data/{number}", record.block_sums, "")
        cache.read(blob, 0, 10)
    assert len(cache._trails) == TRACKED


async def test_close(counting: CountingStore, workers: Workers, fill: Fill) -> None:
    """Closing gives up what is being fetched."""
    cache, record, go = cache_of(counting, workers), stored(counting, fill(10)), threading.Event()
    counting.before = lambda name, _: (go.wait(), None)[1] if name == "get" else None
    reading = asyncio.create_task(cache.get(record, 0))
    await eventually(lambda: cache._fetching)
    await cache.close()
    await asyncio.wait([reading])
    assert reading.cancelled()
    go.set()
