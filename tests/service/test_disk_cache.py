"""The block cache on disk: it saves fetches, and never fails, delays or falsifies a read."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from holdfast.errors import ConfigurationError, Unavailable
from holdfast.service.process.permits import nothing
from holdfast.service.process.workers import Workers
from holdfast.service.reading.block_cache import BlockCache
from holdfast.service.reading.block_files import BlockFiles
from holdfast.service.reading.disk_cache import MOST_WRITING, REST, DiskCache, look
from holdfast.service.settings import Settings
from holdfast.service.store.threads import Threads
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, Record
from tests.service.conftest import Fill
from tests.service.disk_blocks import kept, record_of, unfinished
from tests.service.failing_disk import BROKEN, FORBIDDEN, FULL, at_open, failing, hanging
from tests.service.fleet import Fleet, eventually, sha256
from tests.stores.counting import CountingStore

BUDGET = 64 * BLOCK_SIZE


@dataclass
class Bench:
    """A store, a folder for blocks, and caches on them that come and go."""

    store: CountingStore
    folder: Path
    workers: Workers
    stack: AsyncExitStack
    patience: float = 60.0
    now: float = 0.0
    caches: list[Cache] = field(default_factory=list)

    async def cache(self, *, in_memory: int = BUDGET) -> Cache:
        """A process that has just started."""
        files = BlockFiles(self.folder, BUDGET, lambda: 0)
        disk = DiskCache(files, lambda: self.now, self.patience)
        self.stack.push_async_callback(disk.close)
        await disk.start()
        memory = BlockCache(Threads(self.store, self.workers, nothing), in_memory, 8, disk)
        self.stack.push_async_callback(memory.close)
        cache = Cache(memory, disk)
        await cache.settled()
        return cache

    def stored(self, data: bytes, key: str = "data/a") -> Record:
        """A blob's record, its bytes being in the store."""
        self.store.put(key, data)
        return record_of(data, key)

    @property
    def fetches(self) -> int:
        """How many blocks were asked of the store."""
        return self.store.operations("data/").count("get")

    def take_the_store_away(self) -> None:
        """From now on the store answers nothing."""

        def refuse(*_: str) -> None:
            raise Unavailable("the store is gone")

        self.store.before = refuse


@dataclass
class Cache:
    """One process's cache, in memory and on disk."""

    memory: BlockCache
    disk: DiskCache

    async def get(self, record: Record, index: int = 0) -> bytes:
        return await self.memory.get(record, index)

    async def settled(self) -> None:
        """Waits until nothing is being written."""
        await eventually(lambda: not self.disk._pending)


@pytest.fixture
async def bench(folder_store: ObjectStore, tmp_path: Path) -> AsyncIterator[Bench]:
    """All of it, on a folder that stands in for the store."""
    workers = Workers(8, 1)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(workers.close, 10.0)
        yield Bench(CountingStore(folder_store), tmp_path / "blocks", workers, stack)


def failures(logs: list[EventDict]) -> list[str]:
    """What was logged about the disk, by level."""
    return [entry["log_level"] for entry in logs if "disk cache" in entry["event"]]


async def test_after_a_restart(bench: Bench, fill: Fill) -> None:
    """What was read once is there after a restart, though the store is gone."""
    data = fill(BLOCK_SIZE + 10)
    record, cache = bench.stored(data), await bench.cache()
    blocks = [await cache.get(record, index) for index in (0, 1)]
    await cache.settled()
    bench.take_the_store_away()
    again = await bench.cache()
    assert [await again.get(record, index) for index in (0, 1)] == blocks
    assert b"".join(blocks) == data
    assert (again.disk.hits, again.disk.misses) == (2, 0)
    assert (cache.disk.hits, cache.disk.misses) == (0, 2)


async def test_memory_comes_first(bench: Bench, fill: Fill) -> None:
    """A block that is in memory isn't looked for on disk."""
    record, cache = bench.stored(fill(10)), await bench.cache()
    for _ in range(3):
        await cache.get(record)
    assert (cache.disk.hits, cache.disk.misses) == (0, 1)


async def test_what_memory_gave_up(bench: Bench, fill: Fill) -> None:
    """A block that went from memory comes back from disk, not from the store."""
    data = fill(10)
    record, cache = bench.stored(data), await bench.cache(in_memory=0)
    assert await cache.get(record) == data
    await cache.settled()
    assert await cache.get(record) == data
    assert (bench.fetches, cache.disk.hits) == (1, 1)


async def test_inline_bytes_stay_out(bench: Bench) -> None:
    """What stands in the record has no place on disk."""
    record = record_of(b"hello", "data/a")
    inline = Record(
        record.digest, record.state, 5, 0, "data/a", record.block_sums, "", inline=b"hello"
    )
    cache = await bench.cache()
    assert await cache.get(inline) == b"hello"
    await cache.settled()
    assert kept(bench.folder) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.symlink_to("/etc/hostname")),
    ],
    ids=["flipped", "cut", "empty", "gone", "a link"],
)
async def test_damage_is_healed(bench: Bench, fill: Fill, damage: Callable[[Path], Any]) -> None:
    """A damaged or missing file is fetched anew, and whole again afterwards."""
    data = fill(1000)
    record, cache = bench.stored(data), await bench.cache(in_memory=0)
    await cache.get(record)
    await cache.settled()
    [path] = kept(bench.folder)
    damage(path)
    assert await cache.get(record) == data
    assert bench.fetches == 2
    await cache.settled()
    bench.take_the_store_away()
    assert await cache.get(record) == data
    assert not path.is_symlink()


async def test_one_fetch_for_all(bench: Bench, fill: Fill) -> None:
    """However many read at once, the store sees each block once, and so does the disk."""
    data = fill(2 * BLOCK_SIZE + 10)
    record, cache = bench.stored(data), await bench.cache()
    found = await asyncio.gather(*(cache.get(record, n % 3) for n in range(3 * 16)))
    assert b"".join(found[:3]) == data
    assert bench.fetches == 3
    await cache.settled()
    again = await bench.cache()
    assert await asyncio.gather(*(again.get(record, n % 3) for n in range(3 * 16))) == found
    assert (bench.fetches, again.disk.hits) == (3, 3)


async def test_a_reader_that_goes_away(bench: Bench, fill: Fill) -> None:
    """A reader that goes away while the disk is read harms neither others nor the file."""
    data = fill(1000)
    record, cache = bench.stored(data), await bench.cache(in_memory=0)
    await cache.get(record)
    await cache.settled()
    with hanging(bench.folder, reading=True, writing=False) as go:
        gone, stays = (asyncio.create_task(cache.get(record)) for _ in range(2))
        await eventually(lambda: cache.memory._fetching)
        gone.cancel()
        await asyncio.wait([gone])
        go.set()
        assert await stays == data
    assert (bench.fetches, cache.disk.hits, len(kept(bench.folder))) == (1, 1, 1)


async def test_a_read_never_waits_for_a_write(bench: Bench, fill: Fill) -> None:
    """While the disk takes nothing blocks are read all the same; those beyond a few aren't kept."""
    cache = await bench.cache()
    datas = [fill(100) for _ in range(MOST_WRITING + 3)]
    with hanging(bench.folder, reading=False, writing=True) as go:
        for number, data in enumerate(datas):
            assert await cache.get(bench.stored(data, f"data/{number}")) == data
        assert cache.disk.dropped == 3
        go.set()
        await cache.settled()
    assert len(kept(bench.folder)) == MOST_WRITING


@pytest.mark.parametrize("number", [FULL, FORBIDDEN, BROKEN], ids=["full", "forbidden", "broken"])
async def test_a_disk_that_takes_nothing(bench: Bench, fill: Fill, number: int) -> None:
    """A disk that fails in writing fails no read, and is one line in the log, not one per block."""
    cache = await bench.cache()
    datas = {f"data/{name}": fill(100) for name in range(6)}
    with capture_logs() as logs, failing(bench.folder, number, reading=False, writing=True):
        for key, data in datas.items():
            assert await cache.get(bench.stored(data, key)) == data
            await cache.settled()
        assert (cache.disk.errors, cache.disk.dropped) == (1, 5)
        bench.now += REST
        await cache.get(bench.stored(fill(100), "data/later"))
        await cache.settled()
    assert failures(logs) == ["warning"]
    assert cache.disk.errors == 2
    assert kept(bench.folder) == unfinished(bench.folder) == []


@pytest.mark.parametrize("number", [FORBIDDEN, BROKEN], ids=["forbidden", "broken"])
async def test_a_disk_that_gives_nothing(bench: Bench, fill: Fill, number: int) -> None:
    """A disk that fails in reading switches to the store, with one line in the log."""
    cache = await bench.cache(in_memory=0)
    datas = {f"data/{name}": fill(100) for name in range(4)}
    records = [bench.stored(data, key) for key, data in datas.items()]
    for record in records:
        await cache.get(record)
    await cache.settled()
    with capture_logs() as logs, failing(bench.folder, number, reading=True, writing=False):
        assert [await cache.get(record) for record in records] == list(datas.values())
    assert failures(logs) == ["warning"]
    assert (cache.disk.errors, cache.disk.hits, bench.fetches) == (1, 0, 8)


async def test_what_was_begun_before(bench: Bench, fill: Fill) -> None:
    """A read that was under way when another one failed doesn't end the rest by coming through."""
    cache, go, calls = await bench.cache(in_memory=0), threading.Event(), count()
    records = [bench.stored(fill(100), f"data/{number}") for number in range(2)]
    for record in records:
        await cache.get(record)
    await cache.settled()

    def hook(writes: bool) -> None:
        if not writes:
            if next(calls) == 0:
                raise OSError(FORBIDDEN, os.strerror(FORBIDDEN))
            go.wait()

    with at_open(bench.folder, hook):
        reads = [asyncio.create_task(cache.get(record)) for record in records]
        await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        go.set()
        await asyncio.gather(*reads)
    assert (cache.disk.errors, cache.disk.hits) == (1, 1)
    await asyncio.gather(*(cache.get(record) for record in records))
    assert cache.disk.hits == 1


async def test_while_another_one_makes_room(bench: Bench, fill: Fill) -> None:
    """A block that comes while another process makes room isn't kept, and is counted."""
    cache = await bench.cache()
    with (bench.folder / "v1" / "usage").open("rb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        await cache.get(bench.stored(fill(100)))
        await cache.settled()
    assert (cache.disk.dropped, cache.disk.errors, kept(bench.folder)) == (1, 0, [])


async def test_a_disk_that_works_again(bench: Bench, fill: Fill) -> None:
    """A disk that failed is tried again after a rest, and used from then on."""
    data = fill(100)
    record, cache = bench.stored(data), await bench.cache(in_memory=0)
    with capture_logs() as logs:
        with failing(bench.folder, BROKEN, reading=True, writing=True):
            await cache.get(record)
            await cache.settled()
        await cache.get(record)
        assert (cache.disk.errors, kept(bench.folder)) == (2, [])
        bench.now += REST
        for _ in range(2):
            assert await cache.get(record) == data
            await cache.settled()
    assert cache.disk.hits == 1
    assert failures(logs) == ["warning", "warning", "info", "info"]


async def test_a_folder_that_was_removed(bench: Bench, fill: Fill) -> None:
    """A folder that somebody removes costs fetches; after a rest it is made again."""
    data = fill(100)
    record, cache = bench.stored(data), await bench.cache(in_memory=0)
    await cache.get(record)
    await cache.settled()
    bench.folder.rename(bench.folder.with_name("elsewhere"))
    for _ in range(3):
        assert await cache.get(record) == data
        await cache.settled()
    assert (cache.disk.errors, bench.fetches) == (1, 4)
    bench.now += REST
    for _ in range(2):
        assert await cache.get(record) == data
        await cache.settled()
    assert (cache.disk.hits, bench.fetches) == (1, 5)


async def test_a_disk_that_hangs(bench: Bench, fill: Fill) -> None:
    """A disk that doesn't answer in time counts as failed: the block comes from the store."""
    data = fill(100)
    record, cache = bench.stored(data), await bench.cache(in_memory=0)
    await cache.get(record)
    await cache.settled()
    bench.patience = 0.01
    hasty = await bench.cache(in_memory=0)
    with hanging(bench.folder, reading=True, writing=False):
        for _ in range(3):
            assert await hasty.get(record) == data
        assert (hasty.disk.errors, bench.fetches) == (1, 4)


async def test_two_on_one_folder(bench: Bench, fill: Fill) -> None:
    """What one process has fetched, another one on the same folder needn't."""
    data = fill(100)
    one, two, record = await bench.cache(), await bench.cache(), bench.stored(data)
    await one.get(record)
    await one.settled()
    assert await two.get(record) == data
    assert (bench.fetches, two.disk.hits) == (1, 1)


async def test_closing_waits_for_no_queue(bench: Bench, fill: Fill) -> None:
    """At the end the block under way is finished, and those behind it are given up."""
    cache = await bench.cache()
    with hanging(bench.folder, reading=False, writing=True) as go:
        for number in range(4):
            await cache.get(bench.stored(fill(100), f"data/{number}"))
        closing = asyncio.create_task(cache.disk.close())
        await eventually(lambda: cache.disk._closed)
        go.set()
        await closing
    await eventually(lambda: len(kept(bench.folder)) == 1)
    await eventually(lambda: unfinished(bench.folder) == [])
    cache.disk.write(record_of(b"late", "data/late"), 0, b"late")
    assert not cache.disk._pending


async def test_leftovers_go_at_the_start(bench: Bench) -> None:
    """What a dead process left half-written is removed when the next one starts."""
    await bench.cache()
    (bench.folder / "v1" / "tmp" / "left").write_bytes(b"half")
    await bench.cache()
    assert unfinished(bench.folder) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
async def test_a_folder_that_can_not_be_made(tmp_path: Path, place: str) -> None:
    """A folder that can't be made or written to is refused at the start, with what to do."""
    (tmp_path / "file").touch()
    disk = DiskCache(BlockFiles(tmp_path / place, BUDGET, lambda: 0), lambda: 0.0)
    with pytest.raises(ConfigurationError, match="HOLDFAST_DISK_CACHE_DIR"):
        await disk.start()
    await disk.close()
    [check] = look(Settings(disk_cache_budget="64MiB", disk_cache_dir=str(tmp_path / place)))
    assert (check.ok, check.essential) == (False, True)
    assert "HOLDFAST_DISK_CACHE_DIR" in check.advice


async def test_a_disk_with_less_room(bench: Bench) -> None:
    """A budget that the disk has no room for is a line in the log at the start."""
    huge = DiskCache(BlockFiles(bench.folder, 2**60, lambda: 0), lambda: 0.0)
    with capture_logs() as logs:
        await huge.start()
        await eventually(lambda: not huge._pending)
    await huge.close()
    [entry] = [entry for entry in logs if "budget" in entry["event"]]
    assert entry["missing_bytes"] > 2**59


@pytest.mark.parametrize(("budget", "ok"), [("64MiB", True), ("1EiB", False)])
def test_what_the_doctor_says(tmp_path: Path, budget: str, ok: bool) -> None:
    """The doctor says whether the disk has room for the budget, and makes no folder."""
    [check] = look(Settings(disk_cache_budget=budget, data_dir=tmp_path))
    assert (check.ok, check.essential) == (ok, False)
    assert str(tmp_path / "cache") in check.name
    assert list(tmp_path.iterdir()) == []
    assert list(look(Settings(data_dir=tmp_path))) == []


async def test_frontends_on_one_machine(
    folder_fleet: Fleet, tmp_path: Path, fill: Fill, tenant: str
) -> None:
    """What one frontend has read, another one that is started on the folder has without a fetch."""
    settings: dict[str, Any] = {
        "disk_cache_budget": 2**30,
        "disk_cache_dir": str(tmp_path / "blocks"),
    }
    data = fill(BLOCK_SIZE + 100_000)
    one = await folder_fleet.frontend(**settings)
    client = one.tenant(tenant)
    await client.commit("ref", data)
    assert await client.read(sha256(data)) == data
    await eventually(lambda: len(kept(tmp_path / "blocks")) == 2)
    await one.stop()
    store = CountingStore(folder_fleet.store)
    two = await folder_fleet.frontend(store, **settings)
    assert await two.tenant(tenant).read(sha256(data)) == data
    assert store.operations("data/") == []
    assert two.counted("holdfast_disk_cache_hits_total") == 2
    assert two.counted("holdfast_disk_cache_bytes") > BLOCK_SIZE


async def test_no_cache_by_default(folder_fleet: Fleet, tmp_path: Path) -> None:
    """Where none is asked for, no folder is made and no figure shown."""
    frontend = await folder_fleet.frontend()
    registry = frontend.running.frontend.metrics.registry
    assert registry.get_sample_value("holdfast_disk_cache_bytes") is None
    assert not (tmp_path / "cache").exists()
