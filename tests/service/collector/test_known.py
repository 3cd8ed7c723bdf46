"""Records that haven't changed aren't read again, and none is believed after one reading."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from holdfast.digests import Digest
from holdfast.service.collector.known import PAGES, Known
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.keys import DATA, RECORDS, record_key
from holdfast.storage.records import State
from tests.service.collector.world import Killed, World, memory_world
from tests.stores.memory import MemoryStore


def reads(world: World) -> int:
    """How many records a collection reads."""
    world.store.calls.clear()
    assert world.collect().ok
    return world.store.operations(RECORDS).count("get")


def stocked(count: int = 40, store: MemoryStore | None = None) -> World:
    """A store with old blobs that are held."""
    world = memory_world(store, page=1000)
    for number in range(count):
        world.commit("a", b"%d" % number)
    world.grow_old()
    return world


def test_two_runs_read_and_the_third_does_not() -> None:
    """An unchanged store is read by two runs, and by none after them."""
    world = stocked()
    assert [reads(world) for _ in range(4)] == [40, 40, 0, 0]
    assert {name for name, key in world.store.calls if key.startswith("collector/known")} <= {
        "list",
        "get",
    }


def test_a_young_store_is_read_once() -> None:
    """While no data is old, a held record is read once: to see that nobody has condemned it."""
    world = memory_world()
    for number in range(40):
        world.commit("a", b"%d" % number)
    assert [reads(world) for _ in range(3)] == [40, 0, 0]
    world.commit("a", b"new")
    assert [reads(world) for _ in range(2)] == [1, 0]
    world.grow_old()
    assert [reads(world) for _ in range(3)] == [41, 0, 0]


def test_what_has_changed_is_read_twice_again() -> None:
    """A record that was written since is read by the next two runs, and no other is."""
    world = stocked()
    for _ in range(3):
        world.collect()
    digest = world.commit("b", b"new")
    world.grow_old()
    assert [reads(world) for _ in range(3)] == [1, 1, 0]
    world.turn(digest, State.CORRUPT)
    assert [reads(world) for _ in range(3)] == [1, 1, 0]


def test_damaged_pages_cost_reads_and_nothing_else() -> None:
    """A flipped bit makes one record unknown, a lost page all of it."""
    world = stocked()
    for _ in range(3):
        world.collect()
    [page] = world.keys(PAGES)
    body = bytearray(world.store.get(page).body)
    body[100] ^= 1
    world.store.put(page, bytes(body))
    assert [reads(world) for _ in range(3)] == [1, 1, 0]
    world.store.delete(page)
    assert [reads(world) for _ in range(3)] == [40, 40, 0]


def buried(world: World) -> Digest:
    """A blob whose tombstone is old, known, and without its data."""
    gone = world.commit("a", b"gone")
    world.blobs.drop("a", gone)
    world.grow_old()
    for _ in range(4):  # buried, read and its data doomed, read and deleted, known
        world.collect()
        world.memory.time += 2 * 3600
    world.memory.time += world.ages.data
    return gone


def test_a_tombstone_goes_where_a_delete_can_be_conditional() -> None:
    """A tombstone that two runs have read goes when it is older than G and its data is gone."""
    world = stocked(2)
    gone = buried(world)
    assert world.state(gone) is State.TOMBSTONE
    report = world.collect()
    assert report.ok, report.errors
    assert report.count(CollectedKind.RECORDS, Fate.REMOVED) == 1
    assert world.state(gone) is None


class Careless(MemoryStore):
    """A store that ignores the condition of a DELETE."""

    def delete_if(self, key: str, etag: str) -> None:
        """Deletes whatever is there."""
        del etag
        self.delete(key)


def test_a_tombstone_stays_where_no_delete_is_conditional() -> None:
    """Where a store would delete a newer record too, no tombstone is removed."""
    world = stocked(2, Careless())
    gone = buried(world)
    assert world.collect().count(CollectedKind.RECORDS, Fate.REMOVED) == 0
    assert world.state(gone) is State.TOMBSTONE


def test_a_tombstone_stays_beside_its_data() -> None:
    """As long as there is data that a tombstone calls dead, it stays to say so."""
    world = stocked(2)
    gone = buried(world)
    world.store.put(world.data_of(gone), b"gone")
    world.grow_old()
    assert world.collect().count(CollectedKind.RECORDS, Fate.REMOVED) == 0
    assert world.state(gone) is State.TOMBSTONE


def test_a_flipped_count_of_runs_is_not_believed() -> None:
    """A line whose count of runs, which its seal doesn't cover, is another one is damaged."""
    world = stocked(1)
    world.collect()
    [page] = world.keys(PAGES)
    line = world.store.get(page).body
    assert line.startswith(b"1 ")
    for bit in range(8):
        assert Known.decode(bytes([line[0] ^ 1 << bit]) + line[1:]) is None


def test_a_tombstone_that_is_written_over_stays() -> None:
    """A commit just before its tombstone is removed keeps its record."""
    world = stocked(2)
    gone = buried(world)

    def commit(operation: str, key: str) -> None:
        if operation == "delete_if" and key == record_key(gone):
            world.beside().commit("b", b"gone")

    world.store.before = commit
    assert world.collect().count(CollectedKind.RECORDS, Fate.RACED) == 1
    assert world.read(gone) == b"gone"


def many_buried() -> World:
    """A store of 100 records of which 30 are tombstones that the next run removes."""
    world = memory_world(page=1000)
    digests = [world.commit("a", b"%d" % number) for number in range(100)]
    world.grow_old()
    for digest in digests[:30]:
        world.blobs.drop("a", digest)
        data = world.data_of(digest)
        world.turn(digest, State.CONDEMNED)
        world.turn(digest, State.TOMBSTONE)
        world.store.delete(data)
    for _ in range(2):  # read by two runs
        assert world.collect().ok
        world.memory.time += 2 * 3600
    world.memory.time += world.ages.data
    return world


def at(world: World, operation: str, prefix: str, act: Callable[[], object]) -> None:
    """Has something happen just before the first operation of its kind."""

    def look(found: str, key: str) -> None:
        if found == operation and key.startswith(prefix):
            world.store.before = lambda *_: None
            act()

    world.store.before = look


@pytest.mark.parametrize("removed", [1, 29])
def test_a_run_that_dies_while_tombstones_go_stops_no_other(removed: int) -> None:
    """The next run misses as many records as the dead one has removed, and isn't alarmed."""
    world = many_buried()
    left = itertools.count(removed, -1)

    def die(operation: str, key: str) -> None:
        if operation == "delete_if" and key.startswith(RECORDS) and not next(left):
            raise Killed

    world.store.before = die
    with pytest.raises(Killed):
        world.collect()
    world.store.before = lambda *_: None
    assert len(world.keys(RECORDS)) == 100 - removed
    world.memory.time += 24 * 3600
    assert world.collect().ok
    assert len(world.keys(RECORDS)) == 70


def test_a_run_that_dies_before_the_census_removes_nothing() -> None:
    """No tombstone goes before the next run can know of it."""
    world = many_buried()

    def die() -> None:
        raise Killed

    at(world, "put", "collector/census", die)
    with pytest.raises(Killed):
        world.collect()
    assert len(world.keys(RECORDS)) == 100
    world.memory.time += 24 * 3600
    assert world.collect().ok
    assert len(world.keys(RECORDS)) == 70


@pytest.mark.parametrize(
    ("operation", "prefix"),
    [("put", "collector/census"), ("delete_if", RECORDS), ("list", DATA), ("list", RECORDS)],
)
def test_runs_that_overlap_stop_no_other(operation: str, prefix: str) -> None:
    """Whichever of two runs removes the tombstones, and whichever writes its census last."""
    world = many_buried()
    at(world, operation, prefix, lambda: world.beside().collect())
    assert world.collect().ok
    world.memory.time += 24 * 3600
    assert world.collect().ok
    assert len(world.keys(RECORDS)) == 70


def test_a_run_that_saw_more_leaves_the_smaller_census() -> None:
    """A run whose tombstones weren't known yet doesn't expect those that another has removed."""
    world = many_buried()
    for page in world.keys(PAGES):  # nothing is known, and so nothing goes in this run …
        world.store.delete(page)
    known = world.beside()
    at(world, "put", "collector/census", lambda: collected_twice(known))  # … but in these
    assert world.collect().ok
    assert len(world.keys(RECORDS)) == 70
    world.memory.time += 24 * 3600
    assert world.collect().ok


def collected_twice(world: World) -> None:
    """Two runs, the second of which knows what the first has read."""
    for _ in range(2):
        assert world.collect().ok
