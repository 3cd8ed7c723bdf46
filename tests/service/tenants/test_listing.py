"""What all tenants hold, counted in one pass."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.service.tenants import listing
from holdfast.service.tenants.listing import Listing, Summary
from holdfast.storage.keys import DELETING, HOLDS, TENANTS
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.service.collector.world import World
from tests.stores.counting import CountingStore
from tests.stores.memory import START, MemoryStore

HELD = 1_000_000


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def summaries(
    store: ObjectStore | CountingStore, pool: ThreadPoolExecutor, *, sizes: bool = True
) -> dict[str, Summary]:
    sightings = Sightings(store, new_nonce)
    listed = Listing(store, sightings, pool, sizes=sizes).summaries()
    return {summary.tenant: summary for summary in listed}


def test_what_is_told(store: ObjectStore, pool: ThreadPoolExecutor) -> None:
    """Digests, their bytes, when each was last seen and since when it is missing."""
    world, sightings = World(CountingStore(store)), Sightings(store, new_nonce)
    for name in ("a.b", "a", "a-b", "a0"):
        world.commit(name, b"shared")
    world.commit("a", b"its own")
    world.commit("a", b"shared")
    for name in ("a", "idle"):
        sightings.touch(name)
        sightings.miss(name, sightings.token(name), None)
    sightings.touch("idle")
    store.put(f"{HOLDS}stray", b"")
    store.put(f"{HOLDS}a/README", b"")
    store.put(f"{TENANTS}NOBODY/seen", b"")
    found = summaries(store, pool)
    assert list(found) == sorted(found, key=lambda name: f"{name}/")
    told = {name: (found[name].digests, found[name].bytes, found[name].unread) for name in found}
    assert told == {
        "a.b": (1, 6, 0), "a": (2, 13, 0), "a-b": (1, 6, 0), "a0": (1, 6, 0), "idle": (0, 0, 0),
    }  # fmt: skip
    assert found["a"].seen_at is not None
    assert found["a"].missing_since is not None
    assert (found["a-b"].seen_at, found["a-b"].missing_since) == (None, None)
    # Seen since it was missed: it isn't missing.
    assert found["idle"].missing_since is None


def test_one_hold_of_many_is_read(pool: ThreadPoolExecutor) -> None:
    """For sizes one hold of each digest is read; without sizes none is."""
    store = CountingStore(MemoryStore())
    world = World(store)
    for number in range(20):
        for body in (b"one", b"four"):
            world.commit(f"t{number}", body)
    store.calls.clear()
    found = summaries(store, pool)
    assert {summary.bytes for summary in found.values()} == {7}
    assert store.operations().count("get") == 2
    store.calls.clear()
    found = summaries(store, pool, sizes=False)
    assert {(summary.digests, summary.bytes) for summary in found.values()} == {(2, None)}
    assert store.operations() == ["list", "list"]


def test_what_cant_be_read(pool: ThreadPoolExecutor) -> None:
    """Damaged holds, and marks that are left alone, are counted as unread."""
    store = CountingStore(MemoryStore())
    world = World(store)
    for body in (b"damaged", b"marked", b"good"):
        world.commit("a", body)
    [damaged, marked] = [
        entry.key
        for entry in store.list(HOLDS)
        if b"good" not in store.get(entry.key).body and "a/" in entry.key
    ][:2]
    store.put(damaged, b"{")
    store.delete(marked)
    store.put(marked + DELETING, b"")
    [summary] = summaries(store, pool).values()
    assert (summary.digests, summary.unread) == (3, 2)


def test_memory_of_sizes_is_bounded(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many digests there are, only so many sizes are remembered; the sums stay right."""
    monkeypatch.setattr(listing, "REMEMBERED", 3)
    monkeypatch.setattr(listing, "BATCH", 2)
    world = World(MemoryStore())
    for tenant in ("a", "b"):
        for number in range(10):
            world.commit(tenant, b"x" * number)
    found = summaries(world.store, pool)
    assert [summary.bytes for summary in found.values()] == [45, 45]


class Endless(MemoryStore):
    """A store that seems to have a million holds of a thousand tenants."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Made up as it is consumed."""
        del start_after
        for number in range(HELD if prefix == HOLDS else 0):
            key = f"holds/t{number // 1000:04}/sha256/{number % 1000:064x}/h"
            yield Entry(key, 300, "etag", START)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_holds(pool: ThreadPoolExecutor) -> None:
    """A million holds are counted in little memory, tenant by tenant."""
    tracemalloc.start()
    try:
        found = summaries(Endless(), pool, sizes=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 1000
    assert {summary.digests for summary in found.values()} == {1000}
    assert peak < 20 * 2**20
