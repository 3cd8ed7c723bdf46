"""All that a tenant holds is read right, whatever a snapshot says, and costs about its listing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import PermissionDenied, ResourceExhausted, Unavailable
from holdfast.service.holdings.snapshots import LEAST, PAUSE, SnapshotKeeper
from holdfast.service.process.background import Background
from holdfast.service.process.workers import Workers
from holdfast.service.store.hold_reading import FETCHED, HoldReading
from holdfast.service.store.holds import AsyncHolds
from holdfast.service.store.snapshots import AsyncSnapshots
from holdfast.storage.holds import Hold, Holds, merged
from holdfast.storage.kept_holds import KeptHolds
from holdfast.storage.keys import DELETING, hold_digest, uuid7
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.snapshots import Snapshots
from holdfast.values import Info
from tests.service.fleet import Fleet, eventually
from tests.stores.counting import CountingStore
from tests.stores.faults import flipped
from tests.stores.memory import MemoryStore

PAGE = 1000
MIB = 2**20


class Pages(CountingStore):
    """A store in memory that counts each page of a listing, as S3's are asked for."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says."""
        entries = list(self.inner.list(prefix, start_after))
        for at in range(0, max(1, len(entries)), PAGE):
            self.calls.append(("list", prefix))
            self.before("list", prefix)
            yield from entries[at : at + PAGE]

    def asked(self) -> Counter[str]:
        """What it was asked since the last time: operations and the first part of the key."""
        found = Counter(f"{name} {key.partition('/')[0]}" for name, key in self.calls)
        self.calls.clear()
        return found


class Reader:
    """What a frontend needs to read holds, and to write snapshots."""

    def __init__(self, store: Any, workers: Workers, budget: int = 0) -> None:
        self.now = 0.0
        self.background = Background()
        self.workers = workers
        self.holds = Holds(store, uuid7, new_nonce, KeptHolds(budget))
        self.snapshots = Snapshots(store, new_nonce)
        self.keeper = SnapshotKeeper(
            AsyncSnapshots(self.snapshots, workers),
            AsyncHolds(self.holds, workers, self.snapshots),
            self.background,
            lambda: self.now,
        )

    async def list(self, tenant: str = "a") -> list[Info]:
        """As List; returns when what it has begun in the background has ended."""
        reading = self.keeper.reading(tenant)
        found = [info async for infos in told(reading) for info in infos]
        reading.end()
        await eventually(lambda: not len(self.background))
        return found


async def told(reading: HoldReading) -> AsyncIterator[list[Info]]:
    """What a reading finds."""
    async for loaded in reading.batches():
        yield [merged(found) for found in loaded if found]


@pytest.fixture
def store() -> Pages:
    """A store in memory."""
    return Pages()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """Threads."""
    workers = Workers(4, 2)
    yield workers
    await workers.close(30.0)


def a_hold(number: int, label: str = "1") -> Hold:
    digest = Digest.of(b"%d" % number)
    return Hold(digest, 1, 1, 1, {"label": label}, 1, new_nonce())


def fill(store: Any, count: int, tenant: str = "a") -> list[str]:
    """Holds of a tenant; their keys."""
    holds = Holds(store, uuid7, new_nonce)
    keys = [holds.make(tenant, a_hold(number)) for number in range(count)]
    store.calls.clear()
    return keys


def truth(store: Any, tenant: str = "a") -> list[Info]:
    """What a tenant holds, each hold fetched."""
    plain = Holds(store, uuid7, new_nonce)
    loaded = [plain.load(group) for group in plain.groups(tenant)]
    store.calls.clear()
    return [merged(found) for found in loaded if found]


# -- what it costs


async def test_what_a_list_costs(store: Pages, workers: Workers) -> None:
    """A first List costs a request for each hold, and all later ones, anywhere, about its pages."""
    fill(store, 3_000)
    wanted = truth(store)
    first = Reader(store, workers, 16 * MIB)
    assert await first.list() == wanted
    # The snapshot is made of a listing of its own, and of what the List has left in memory.
    assert store.asked() == {
        "list holds": 3 + 3,
        "list snapshots": 1 + 2,
        "get holds": 3_000,
        "put snapshots": 2,
    }
    for reader in (Reader(store, workers), Reader(store, workers, 16 * MIB)):
        for _ in range(2):
            assert await reader.list() == wanted
            cost = {"list holds": 3, "list snapshots": 1, "get snapshots": 2}
            assert store.asked() == cost
    assert await first.list() == wanted
    assert store.asked() == {"list holds": 3}


async def test_memory_is_for_what_no_snapshot_has(store: Pages, workers: Workers) -> None:
    """What a snapshot has takes no room in memory from what has changed since."""
    keys = fill(store, 3_000)
    await Reader(store, workers, 16 * MIB).list()
    for key in keys[:50]:
        store.put(key, replace(a_hold(keys.index(key), "2")).encode())
    reader, room = Reader(store, workers, 100_000), []
    for _ in range(2):
        wanted = truth(store)
        assert await reader.list() == wanted
        room.append(store.asked()["get holds"])
    assert room == [50, 0]


async def test_few_holds_are_read_as_ever(store: Pages, workers: Workers) -> None:
    """For a tenant whose holds fit a page no snapshot is looked for or written."""
    fill(store, PAGE)
    reader = Reader(store, workers)
    for _ in range(2):
        assert len(await reader.list()) == PAGE
        assert store.asked() == {"list holds": 1, "get holds": PAGE}


async def test_a_few_changes_are_fetched(store: Pages, workers: Workers) -> None:
    """Where memory lacks only a few, they are fetched, and no snapshot is looked for."""
    keys = fill(store, 1_500)
    reader = Reader(store, workers, 16 * MIB)
    await reader.list()
    for number in range(FETCHED):
        store.put(keys[number], a_hold(number, "2").encode())
    wanted = truth(store)
    assert await reader.list() == wanted
    assert store.asked() == {"list holds": 2, "get holds": FETCHED}


async def test_a_chunk_that_is_gone(store: Pages, workers: Workers) -> None:
    """Holds whose chunk is gone or damaged are fetched, and a new snapshot has them again."""
    fill(store, 3_000)
    wanted = truth(store)
    await Reader(store, workers, 16 * MIB).list()
    chunk, end = [entry.key for entry in store.list("snapshots/")]
    assert end.endswith("/complete")
    body = store.get(chunk).body
    store.put(chunk, flipped(body, 4_000))
    store.calls.clear()
    assert await Reader(store, workers, 16 * MIB).list() == wanted
    assert store.asked()["get holds"] == 3_000
    assert await Reader(store, workers).list() == wanted
    assert store.asked()["get holds"] == 0


# -- whether it is right

CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "again", "delete", "label", "mark"]), st.integers(0, 79)),
    max_size=40,
)


@settings(deadline=None)
@given(CHANGES, CHANGES)
def test_a_snapshot_of_any_age(before: list[tuple[str, int]], since: list[tuple[str, int]]) -> None:
    """Whatever was held, changed and deleted since a snapshot, a reading gives what is so now."""
    asyncio.run(_any_age(before, since))


async def _any_age(before: list[tuple[str, int]], since: list[tuple[str, int]]) -> None:
    store, workers = Pages(), Workers(2, 1)
    fill(store, 60)
    holds, snapshots = Holds(store, uuid7, new_nonce), Snapshots(store, new_nonce, 2_000)
    for operation, number in before:
        change(store, operation, number)
    writing = snapshots.begin("a")
    for group in holds.groups("a"):
        writing.add(holds.load(group))
    writing.finish()
    for operation, number in since:
        change(store, operation, number)
    wanted = truth(store)
    reading = HoldReading("a", holds, workers, snapshots, page=10)
    assert [info async for infos in told(reading) for info in infos] == wanted
    assert store.asked()["get holds"] <= 2 * len(since) + FETCHED
    await workers.close(30.0)


def change(store: Any, operation: str, number: int) -> None:
    """A change of one digest that somebody makes."""
    holds, hold = Holds(store, uuid7, new_nonce), a_hold(number)
    found = holds.find("a", hold.digest)
    if operation == "again" or (operation == "add" and not found):
        holds.make("a", hold)
    elif operation == "delete":
        holds.drop("a", hold.digest)
    elif operation == "label" and found:
        holds.relabel(found, lambda old: {**old, "n": old.get("n", "") + "x"}, 2)
    elif operation == "mark" and found:
        store.put(found[0].key + DELETING, b"")


async def test_a_hold_that_a_snapshot_has_wrong(store: Pages, workers: Workers) -> None:
    """A body that isn't the hold's by its own sum is fetched, whatever the chunk's sum says."""
    keys = fill(store, 30)
    holds = Holds(store, uuid7, new_nonce)
    wanted = truth(store)
    writing = Snapshots(store, new_nonce).begin("a")
    for key in sorted(keys):
        named = holds.named(key)
        other = replace(named.hold, digest=Digest.of(b"another"))
        writing.add([replace(named, hold=other)])
    writing.finish()
    reading = HoldReading("a", holds, workers, Snapshots(store, new_nonce), page=10)
    assert [info async for infos in told(reading) for info in infos] == wanted
    assert {hold_digest(key) for key in keys} == {info.digest for info in wanted}


# -- when one is written


def snapshots(store: Any) -> int:
    """How many complete ones there are."""
    return sum(entry.key.endswith("/complete") for entry in store.list("snapshots/"))


async def test_not_again_at_once(store: Pages, workers: Workers) -> None:
    """A tenant's next snapshot is written some minutes after its last one, at the earliest."""
    keys = fill(store, 1_500)
    reader = Reader(store, workers)
    await reader.list()
    for number in range(LEAST):
        store.put(keys[number], a_hold(number, "2").encode())
    store.calls.clear()
    for now, written in ((PAUSE - 1, 0), (PAUSE, 2)):
        reader.now = now
        await reader.list()
        assert store.asked()["put snapshots"] == written
    assert snapshots(store) == 1


async def test_not_for_a_small_share(store: Pages, workers: Workers) -> None:
    """Where nine tenths are found, what has changed is fetched, and no snapshot is written."""
    keys = fill(store, 4_000)
    await Reader(store, workers).list()
    for number in range(LEAST + 50):
        store.put(keys[number], a_hold(number, "2").encode())
    store.calls.clear()
    await Reader(store, workers).list()
    asked = store.asked()
    assert asked["get holds"] == LEAST + 50
    assert asked["put snapshots"] == 0


async def test_one_at_a_time(store: Pages, workers: Workers) -> None:
    """While a frontend writes one snapshot it begins no other."""
    for tenant in ("a", "b"):
        fill(store, 1_100, tenant)
    reader = Reader(store, workers)
    ended = []
    for tenant in ("a", "b"):
        reading = reader.keeper.reading(tenant)
        async for _ in reading.batches():
            pass
        ended.append(reading)
    for reading in ended:
        reading.end()
    assert len(reader.background) == 1
    await eventually(lambda: not len(reader.background))
    assert [entry.key.split("/")[1] for entry in store.list("snapshots/")] == ["a", "a"]


async def test_a_client_that_leaves(store: Pages, workers: Workers) -> None:
    """A List that was broken off has a snapshot written all the same, of all that is held."""
    fill(store, 1_500)
    wanted = truth(store)
    reader = Reader(store, workers)
    reading = reader.keeper.reading("a")
    async for _ in reading.batches():
        if reading.fetched >= LEAST:
            break
    reading.end()
    await eventually(lambda: not len(reader.background))
    store.calls.clear()
    assert await Reader(store, workers).list() == wanted
    assert store.asked()["get holds"] == 0


@pytest.mark.parametrize("error", [ResourceExhausted, PermissionDenied, Unavailable])
@pytest.mark.parametrize("reached", ["/000000", "/complete"])
async def test_a_store_that_wont_have_it(
    store: Pages, workers: Workers, error: type[Exception], reached: str
) -> None:
    """In a store that takes no more, a List is answered, and nothing stays of a snapshot."""
    fill(store, 1_100)
    wanted = truth(store)

    def refuse(operation: str, key: str) -> None:
        if operation == "put" and key.endswith(reached):
            raise error("no more")

    store.before = refuse
    assert await Reader(store, workers).list() == wanted
    assert list(store.list("snapshots/")) == []


async def test_a_frontend_that_ends(store: Pages, workers: Workers) -> None:
    """A frontend that ends doesn't wait for a snapshot that it writes."""
    fill(store, 1_100)
    reader = Reader(store, workers)
    await reader.keeper.close()
    reading = reader.keeper.reading("a")
    async for _ in reading.batches():
        pass
    reading.end()
    await reader.keeper.close()
    assert not len(reader.background)
    assert snapshots(store) == 0


async def test_two_frontends_at_once(store: Pages, workers: Workers) -> None:
    """Two frontends that write at once leave a snapshot that is read, and every List is right."""
    fill(store, 2_500)
    wanted = truth(store)
    readers = [Reader(store, workers) for _ in range(2)]
    assert await asyncio.gather(*(reader.list() for reader in readers)) == [wanted, wanted]
    store.calls.clear()
    assert await Reader(store, workers).list() == wanted
    assert await Reader(store, workers).list() == wanted
    assert store.asked()["get holds"] in {0, 2_500}
    assert snapshots(store) >= 1


async def test_a_frontend_that_was_just_started(
    folder_fleet: Fleet, folder_store: ObjectStore, tenant: str
) -> None:
    """What one frontend has listed, another one lists without fetching a hold."""
    holds = Holds(folder_store, uuid7, new_nonce)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: holds.make(tenant, a_hold(n)), range(PAGE + 100)))
    one = await folder_fleet.frontend()
    wanted = await one.tenant(tenant).list()
    assert len(wanted) == PAGE + 100
    await eventually(lambda: not len(one.running.frontend.background))
    counting = CountingStore(folder_store)
    other = await folder_fleet.frontend(counting)
    assert await other.tenant(tenant).list() == wanted
    assert counting.operations("holds/") == ["list"]
    assert counting.operations("snapshots/") == ["list", "get", "get"]
