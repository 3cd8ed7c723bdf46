"""A run stops before it changes anything, where what it sees or would do is too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from holdfast.digests import Digest
from holdfast.errors import ResourceExhausted
from holdfast.service.collector.brakes import BrakeLimits, BrakeReason, CollectionPlan, tripped
from holdfast.service.collector.known import PAGES
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.keys import DATA, HOLDS, RECORDS, TAILS, record_digest, tail_key, uuid7
from holdfast.storage.port import Entry
from holdfast.storage.records import State
from tests.service.collector.world import APART, World
from tests.stores.counting import nothing
from tests.stores.memory import MemoryStore, SteppingStore

LIMITS = BrakeLimits(few=3, few_bytes=50, dead_few=3, records_few=3)
"""Floors that a store of twenty blobs is above."""
BLOBS = 20


@pytest.fixture
def stocked(world: World) -> World:
    """Twenty blobs that are held and old, looked at by a run before, and an old tail."""
    for number in range(BLOBS):
        world.commit("a", b"blob %02d" % number)
    world.collect(limits=LIMITS)
    world.store.put(tail_key(uuid7()), b"tail")
    world.grow_old()
    return world


class Hiding(MemoryStore):
    """A store whose listings leave something out, or are out of order."""

    below = ""
    keep = 0
    shuffled = False

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says, but for one prefix."""
        entries = list(super().list(prefix, start_after))
        if prefix == self.below:
            entries = entries[: self.keep]
            entries = entries[::-1] if self.shuffled else entries
        return iter(entries)


def hiding(world: World, below: str, keep: int, *, shuffled: bool = False) -> World:
    """The same store, with listings below a prefix of so many entries."""
    store = Hiding()
    store.__dict__.update(world.memory.__dict__)
    store.below, store.keep, store.shuffled = below, keep, shuffled
    return World(SteppingStore(store, 1000), world.ages)


def drop_half(world: World) -> World:
    """Half of all blobs are given up."""
    for key in world.keys(HOLDS)[::2]:
        world.store.delete(key)
    return world


def doom_half(world: World) -> World:
    """Half of all data is unnamed, and doomed by a run before."""
    for number in range(BLOBS):
        world.put_data(b"garbage %d" % number)
    world.grow_old()
    world.collect(limits=LIMITS)
    return world


def damage_one(world: World) -> World:
    """A record can't be read, and another one is to go."""
    keys = world.keys(RECORDS)
    world.store.put(keys[0], b"{")
    world.store.delete(world.keys(HOLDS)[-1])
    return world


SIGHTS: dict[BrakeReason, Callable[[World], World]] = {
    BrakeReason.CONDEMN: drop_half,
    BrakeReason.DELETE: doom_half,
    BrakeReason.WITHOUT_CONTENT: lambda world: hiding(world, RECORDS, 15),
    BrakeReason.RECORDS: lambda world: hiding(world, RECORDS, 10),
    BrakeReason.HOLDS: lambda world: hiding(world, HOLDS, 0),
    BrakeReason.UNREADABLE: damage_one,
    BrakeReason.ORDER: lambda world: hiding(world, RECORDS, BLOBS, shuffled=True),
}


@pytest.mark.parametrize("brake", SIGHTS)
def test_a_run_stops_before_it_changes_anything(stocked: World, brake: BrakeReason) -> None:
    """Each brake stops a run before its first change, and says what was seen."""
    shown = SIGHTS[brake](stocked)
    before, tails = stocked.keys(DATA), stocked.keys(TAILS)
    states = [stocked.state(digest) for digest in digests(stocked)]
    report = shown.collect(limits=LIMITS)
    assert brake in {tripped.brake for tripped in report.brakes}
    assert not report.ok
    assert f"brake {brake}" in " ".join(report.errors)
    assert stocked.keys(DATA) == before
    assert stocked.keys(TAILS) == tails
    assert [stocked.state(digest) for digest in digests(stocked)] == states


def digests(world: World) -> list[Digest]:
    """Digests whose records can be read."""
    return [record_digest(key) for key in world.keys(RECORDS)]


@pytest.mark.parametrize("brake", [BrakeReason.CONDEMN, BrakeReason.DELETE])
def test_what_is_accepted_is_done(stocked: World, brake: BrakeReason) -> None:
    """A brake that somebody accepts holds no run up, and the report still names it."""
    shown = SIGHTS[brake](stocked)
    report = shown.collect(limits=LIMITS, accept=frozenset({brake}))
    assert report.ok, report.errors
    assert [(tripped.brake, tripped.accepted) for tripped in report.brakes] == [(brake, True)]
    done = report.count(CollectedKind.RECORDS, Fate.CONDEMNED) + report.count(
        CollectedKind.DATA, Fate.DELETED
    )
    assert done >= BLOBS // 2


def test_order_cannot_be_accepted(stocked: World) -> None:
    """A listing out of order can't be worked with, whoever says so."""
    shown = SIGHTS[BrakeReason.ORDER](stocked)
    assert not shown.collect(limits=LIMITS, accept=frozenset(BrakeReason)).ok


def test_a_rehearsal_goes_on(stocked: World) -> None:
    """A dry run shows the brake, and what would be done without it."""
    report = drop_half(stocked).collect(limits=LIMITS, dry=True)
    assert [tripped.brake for tripped in report.brakes] == [BrakeReason.CONDEMN]
    assert report.count(CollectedKind.RECORDS, Fate.CONDEMNED) == BLOBS // 2


def test_a_small_store_never_stops(stocked: World) -> None:
    """By its own floors a small store may lose all its holds at once."""
    for key in stocked.keys(HOLDS):
        stocked.store.delete(key)
    assert stocked.collect().ok


def test_a_few_without_content_never_stop() -> None:
    """Commits that died in between don't stop a run, however small the store is."""
    assert (
        list(
            tripped(
                CollectionPlan(digests=5, without_content=BrakeLimits().dead_few),
                None,
                BrakeLimits(),
            )
        )
        == []
    )
    plan = CollectionPlan(digests=5, without_content=BrakeLimits().dead_few + 1)
    assert [found.brake for found in tripped(plan, None, BrakeLimits())] == [
        BrakeReason.WITHOUT_CONTENT
    ]


@pytest.mark.parametrize(
    "plan", [CollectionPlan(data=100, due=6), CollectionPlan(data=100, data_bytes=99, due_bytes=60)]
)
def test_data_is_counted_by_objects_and_by_bytes(plan: CollectionPlan) -> None:
    """Either many objects or many bytes that would go stop a run."""
    assert [found.brake for found in tripped(plan, None, LIMITS)] == [BrakeReason.DELETE]


def test_a_second_listing_of_holds_is_held_against_the_first(stocked: World) -> None:
    """A second listing of holds that is much shorter than the first buries nothing."""
    digest = stocked.commit("a", b"gone")
    stocked.blobs.drop("a", digest)
    stocked.turn(digest, State.CONDEMNED)
    stocked.grow_old()
    listed = 0

    def lose_holds(operation: str, key: str) -> None:
        nonlocal listed
        listed += (operation, key) == ("list", HOLDS)
        if listed == 2:
            beside = stocked.beside()
            for held in beside.keys(HOLDS):
                beside.store.delete(held)

    stocked.store.before = lose_holds
    report = stocked.collect(limits=LIMITS)
    assert [tripped.brake for tripped in report.brakes] == [BrakeReason.HOLDS]
    assert stocked.state(digest) is State.CONDEMNED


@pytest.mark.parametrize("size", [1, 100_000], ids=["inline", "object"])
def test_an_honest_run_takes_back_what_a_lie_condemned(size: int) -> None:
    """Two listings of holds that come back empty bury nothing if one between them had the hold."""
    store = Hiding()
    world = World(SteppingStore(store), APART)
    digest = world.commit("a", b"x" * size)
    world.grow_old()
    store.below = HOLDS
    world.collect()
    assert world.state(digest) is State.CONDEMNED
    for lies in (False, True):
        store.time += 2 * 24 * 3600.0
        store.below = HOLDS if lies else ""
        world.collect()
    assert world.state(digest) is State.CONDEMNED  # once more, and once only
    store.time += 2 * 24 * 3600.0
    store.below = ""
    report = world.collect()
    assert world.state(digest) is State.LIVE
    assert report.count(CollectedKind.RECORDS, Fate.PARDONED) == 1
    assert world.read(digest) == b"x" * size


def condemned_by_a_lie() -> tuple[World, Digest]:
    """A store with a held blob that was condemned, since a listing showed no holds."""
    store = Hiding()
    world = World(SteppingStore(store), APART)
    digest = world.commit("a", b"x")
    store.grow_old((RECORDS,), 2 * 24 * 3600.0)
    store.below = HOLDS
    world.collect()
    store.below = ""
    assert world.state(digest) is State.CONDEMNED
    return world, digest


def test_a_pardon_that_failed_is_made_up_for() -> None:
    """What a lie condemned is pardoned after a run that couldn't, even if no data is old."""
    world, digest = condemned_by_a_lie()
    world.store.before = no_record
    assert not world.collect().ok
    assert world.state(digest) is State.CONDEMNED
    world.store.before = nothing
    assert world.collect().ok
    assert world.state(digest) is State.LIVE


def test_a_pardon_needs_no_page() -> None:
    """What a lie condemned is pardoned by the next run, even if what was known of it is lost."""
    world, digest = condemned_by_a_lie()
    for page in world.keys(PAGES):
        world.memory.delete(page)
    assert world.collect().ok
    assert world.state(digest) is State.LIVE


def no_record(operation: str, key: str) -> None:
    """A hook that lets no record be written."""
    if operation == "put" and key.startswith(RECORDS):
        raise ResourceExhausted(f"{key}: the disk is full")
