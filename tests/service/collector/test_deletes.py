"""Deletes that were broken off after their mark."""

from __future__ import annotations

import pytest

from holdfast.digests import Digest
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.keys import DELETING, HOLDS, name_after
from holdfast.storage.records import State
from tests.service.collector.lying import lying
from tests.service.collector.world import World, counts
from tests.storage.edited import newer
from tests.stores.counting import nothing

BODY = b"half deleted"
DIGEST = Digest.of(BODY)


@pytest.fixture
def marked(world: World) -> World:
    """A tenant's only hold, with the mark of a delete that was broken off beside it."""
    world.commit("a", BODY)
    [hold] = world.keys(HOLDS)
    world.store.put(hold + DELETING, b"")
    return world


def test_one_that_may_be_under_way_is_left(marked: World) -> None:
    """While a request of the delete can still land, nothing is done about it."""
    before = marked.keys(HOLDS)
    assert counts(marked.collect(), CollectedKind.HOLDS) == {"marked": 1, "young": 1}
    assert marked.keys(HOLDS) == before


def test_one_that_left_its_hold_is_taken_back(marked: World) -> None:
    """The tenant gets a hold that it sees, with the labels, before the marked one goes."""
    before = marked.keys(HOLDS)
    marked.grow_old(HOLDS, seconds=marked.ages.landing + 60)
    assert marked.blobs.held("a", DIGEST) is None
    rehearsed = marked.collect(dry=True)
    assert marked.keys(HOLDS) == before
    marked.store.calls.clear()
    report = marked.collect()
    assert rehearsed.count(CollectedKind.HOLDS, Fate.TAKEN_BACK) == 1
    assert report.count(CollectedKind.HOLDS, Fate.TAKEN_BACK) == 1
    [new] = marked.keys(HOLDS)
    assert new not in before
    calls = [call for call in marked.store.calls if call[1].startswith(HOLDS)]
    changes = [call for call in calls if call[0] in {"put", "delete"}]
    assert changes == [("put", new), ("delete", before[0]), ("delete", before[1])]
    assert marked.blobs.held("a", DIGEST)
    # So the tenant can end what it had begun.
    assert marked.blobs.drop("a", DIGEST) == 1


def test_one_beside_another_hold_is_ended(marked: World) -> None:
    """Where the tenant has a hold without a mark, no further one is made."""
    before = marked.keys(HOLDS)
    marked.adopt("a", DIGEST)
    [other] = set(marked.keys(HOLDS)) - set(before)
    marked.grow_old(HOLDS, seconds=marked.ages.landing + 60)
    report = marked.collect()
    assert report.count(CollectedKind.HOLDS, Fate.TAKEN_BACK) == 1
    assert marked.keys(HOLDS) == [other]


def test_a_mark_alone_goes(marked: World) -> None:
    """A mark whose hold has gone is removed, and holds no longer."""
    [hold, _] = marked.keys(HOLDS)
    marked.store.delete(hold)
    marked.grow_old()
    report = marked.collect()
    assert report.count(CollectedKind.HOLDS, Fate.UNMARKED) == 1
    assert marked.keys(HOLDS) == []
    assert marked.state(DIGEST) is State.LIVE
    marked.collect()
    assert marked.state(DIGEST) is State.TOMBSTONE


@pytest.mark.parametrize("body", [b"{", newer()])
def test_a_hold_that_cannot_be_read_stays(marked: World, body: bytes) -> None:
    """A marked hold that can't be read is told of, and stays as it is."""
    [hold, mark] = marked.keys(HOLDS)
    marked.store.put(hold, body)
    marked.grow_old(HOLDS)
    report = marked.collect()
    assert not report.ok
    assert marked.keys(HOLDS) == [hold, mark]


@pytest.mark.parametrize("other", [False, True], ids=["its only hold", "beside a hold that goes"])
def test_a_listing_that_lacks_a_hold_costs_no_content(world: World, *, other: bool) -> None:
    """Whatever the listing of one tenant's holds omits, a hold that it counts isn't deleted."""
    world.commit("a", BODY)
    [hold] = world.keys(HOLDS)
    world.store.put(hold + DELETING, b"")
    if other:
        world.adopt("a", DIGEST)
    world.grow_old(HOLDS)
    hidden = {hold, *(key for key in world.keys(HOLDS) if other and key != hold + DELETING)}
    prefix = hold.rpartition("/")[0] + "/"
    lying(world, hides=lambda at, entry: at == prefix and entry.key in hidden).collect()
    for _ in range(3):
        world.grow_old()
        assert world.collect().ok
        assert world.read(DIGEST) == BODY
    assert world.blobs.held("a", DIGEST)


def test_a_listing_that_shows_what_is_gone_costs_no_content(marked: World) -> None:
    """A hold that is listed and can't be found doesn't replace the one that is marked."""
    [hold, _] = marked.keys(HOLDS)
    gone = name_after(hold.rpartition("/")[2])
    gone = f"{hold.rpartition('/')[0]}/{gone}"
    marked.grow_old(HOLDS)
    lying(marked, shows=(gone,)).collect()
    assert marked.blobs.held("a", DIGEST)


def test_a_late_mark_costs_no_content(world: World) -> None:
    """A mark that lands after its delete was given up, on a hold counted since, loses nothing."""
    world.commit("a", BODY)
    [hold] = world.keys(HOLDS)
    # The delete was given up before its mark landed; then Info counted the hold.
    assert world.blobs.held("a", DIGEST)
    world.store.put(hold + DELETING, b"")
    for _ in range(3):
        world.grow_old()
        assert world.collect().ok
        assert world.read(DIGEST) == BODY
    assert world.blobs.held("a", DIGEST)


def test_a_delete_beside_it_leaves_what_can_be_deleted(marked: World) -> None:
    """Whenever the tenant deletes beside the collector, at most a hold that it sees is left."""
    marked.grow_old(HOLDS)
    pristine = marked.memory.copy()
    marked.collect()
    for number in range(len(marked.store.calls)):
        world = World(type(marked.store)(pristine.copy()))
        made = 0

        def meddle(operation: str, key: str, world: World = world, number: int = number) -> None:
            nonlocal made
            del operation, key
            if made == number:
                world.beside().blobs.drop("a", DIGEST)
            made += 1

        world.store.before = meddle
        assert world.collect().ok
        world.store.before = nothing
        assert not [key for key in world.keys(HOLDS) if key.endswith(DELETING)]
        world.blobs.drop("a", DIGEST)
        assert world.keys(HOLDS) == []
