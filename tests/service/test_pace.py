"""Readers of one blob: together where that spares fetches, and nobody is held up for long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from holdfast.service.process.permits import nothing
from holdfast.service.process.workers import Workers
from holdfast.service.reading.block_cache import MAX_AHEAD, BlockCache
from holdfast.service.reading.pace import GRACE, MOVING, REACH, SHARE, PacedReader, ReaderPace
from holdfast.service.store.threads import Threads
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE
from tests.coordination.fleet import Clock
from tests.service.conftest import Fill
from tests.service.test_block_cache import stored
from tests.stores.counting import CountingStore

ROOM = 4


class Track:
    """Readers of one blob, and a clock that stands still."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.clock = Clock()
        self.pace = ReaderPace(ROOM, self.clock)

    def reader(self, index: int = 0, key: str = "blob") -> PacedReader:
        """One that begins at a block."""
        return self._stack.enter_context(self.pace.reading(key, index))


@pytest.fixture
def track() -> Iterator[Track]:
    """No readers yet."""
    with ExitStack() as stack:
        yield Track(stack)


async def goes(reading: PacedReader, index: int) -> bool:
    """Whether a reader may fetch a block without waiting."""
    step = asyncio.create_task(reading.step(index))
    await asyncio.sleep(0)
    if step.done():
        return True
    step.cancel()
    await asyncio.wait([step])
    return False


async def test_it_waits_for_one_behind(track: Track) -> None:
    """A reader waits at the block that is too far ahead, until the one behind has moved."""
    behind, ahead = track.reader(), track.reader()
    for index in range(1, ROOM + 1):
        assert await goes(ahead, index)
    step = asyncio.create_task(ahead.step(ROOM + 1))
    await asyncio.sleep(0)
    assert not step.done()
    await behind.step(1)
    await step


async def test_one_that_goes_away(track: Track) -> None:
    """Nobody waits for a reader that has gone."""
    ahead = track.reader()
    with track.pace.reading("blob", 0):
        step = asyncio.create_task(ahead.step(ROOM + 1))
        await asyncio.sleep(0)
        assert not step.done()
    await step


async def test_one_that_stands_still(track: Track) -> None:
    """A client that takes nothing holds up no other."""
    track.reader()
    track.clock.now += MOVING
    assert await goes(track.reader(ROOM), ROOM + 1)


async def test_one_that_is_far_behind(track: Track) -> None:
    """One whose blocks are gone already isn't waited for: it fetches them anew anyway."""
    track.reader()
    ahead = track.reader(ROOM + REACH)
    assert not await goes(ahead, ROOM + REACH)
    assert await goes(ahead, ROOM + REACH + 1)


async def test_other_blobs(track: Track) -> None:
    """Readers of other blobs aren't waited for; they take their share of the room."""
    track.reader(key="other")
    ahead = track.reader()
    assert await goes(ahead, 100)
    track.reader(100)
    assert await goes(ahead, 100 + ROOM // 2)
    assert not await goes(ahead, 100 + ROOM // 2 + 1)


async def test_the_longest_wait(track: Track) -> None:
    """What a reader has waited for in all is bounded by a part of the time that it took."""
    behind, ahead = track.reader(), track.reader()
    track.clock.now += 10.0
    behind.moved = track.clock.now
    ahead.waited = GRACE + SHARE * 10.0
    assert await goes(ahead, ROOM + 1)
    ahead.waited -= 0.01
    assert not await goes(ahead, ROOM + 1)


async def test_one_waits_for_one_that_waits(track: Track) -> None:
    """The first of a row waits for the second, which waits for the last; all of them arrive."""
    last, second, first = track.reader(), track.reader(ROOM), track.reader(2 * ROOM)
    steps = [
        asyncio.create_task(second.step(ROOM + 1)),
        asyncio.create_task(first.step(2 * ROOM + 2)),
    ]
    await asyncio.sleep(0)
    assert not any(step.done() for step in steps)
    await last.step(1)
    await steps[0]
    await last.step(ROOM + 2)
    await asyncio.sleep(0)
    assert not steps[1].done()
    await second.step(ROOM + 2)
    await steps[1]


@pytest.mark.parametrize("seed", range(3))
async def test_each_block_is_fetched_once(folder_store: ObjectStore, fill: Fill, seed: int) -> None:
    """Readers of differing speeds, one of them slow, have each block fetched once."""
    counting, workers = CountingStore(folder_store), Workers(8, 1)
    budget = (MAX_AHEAD + 1 + ROOM) * BLOCK_SIZE
    cache = BlockCache(Threads(counting, workers, nothing), budget, 4)
    cache.pace = ReaderPace(ROOM, Clock())
    record = stored(counting, fill(24 * BLOCK_SIZE))
    chance = random.Random(seed)  # noqa: S311 -- speeds, no secret

    async def read(turns: list[int]) -> None:
        with cache.pace.reading(record.data_key, 0) as reading:
            for index in range(24):
                await reading.step(index)
                cache.read(record, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE)
                await cache.get(record, index)
                for _ in range(chance.choice(turns)):
                    await asyncio.sleep(0)

    await asyncio.gather(read([5000]), *(read([0, 1, 30]) for _ in range(7)))
    assert counting.operations("data/").count("get") == 24
    await workers.close(10.0)
