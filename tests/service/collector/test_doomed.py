"""Data goes by two keys: two runs, a set time apart, that each found it unnamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.service.collector.ages import Ages
from holdfast.service.collector.doomed import LISTS, Doomed
from holdfast.service.collector.lines import sealed
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.settings import DOOM_MINIMUM, load
from holdfast.storage.keys import DATA, RECORDS, record_key, uuid7
from holdfast.storage.port import Entry
from holdfast.storage.spool import Spool
from tests.service.collector.lying import lying
from tests.service.collector.world import APART, OLD, Later, World, counts, memory_world
from tests.storage.edited import newer

DAY = 24 * 3600.0
MARGIN = 60.0
Lie = Callable[[World], Any]


@pytest.fixture
def named(world: World) -> World:
    """A store with data that is named, held and old, and collectors as they are by default."""
    world.ages = APART
    for number in range(5):
        world.commit("a", b"content %d" % number)
    world.grow_old()
    return world


def later(world: World, seconds: float) -> None:
    """Lets time pass in a store in memory."""
    world.memory.time += seconds


def hidden_records(prefix: str, entry: Entry) -> bool:
    """A listing of records that comes back empty."""
    del entry
    return prefix == RECORDS


def half_of_the_records(prefix: str, entry: Entry) -> bool:
    """A listing of records that breaks off without saying so."""
    return prefix == RECORDS and entry.key > f"{RECORDS}sha256/8"


LIES: dict[str, dict[str, Any]] = {
    "flipped": {"flips": True},
    "an empty listing": {"hides": hidden_records},
    "half a listing": {"hides": half_of_the_records},
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_lie_deletes_nothing(named: World, name: str, which: int) -> None:
    """Whichever run is told a lie about the records, the first or a later one, data stays."""
    for turn in range(3):
        (lying(named, **LIES[name]) if turn == which else named).collect()
        later(named, 2 * DAY)
    assert len(named.keys(DATA)) == 5


def test_two_runs_that_agree_delete(named: World) -> None:
    """What two runs find unnamed goes: these two are told the same lie."""
    for _ in range(2):
        lying(named, flips=True).collect()
        later(named, 2 * DAY)
    assert named.keys(DATA) == []


def test_it_takes_a_set_time(world: World) -> None:
    """What is doomed goes a day after it was found first, by the store's stamps, not before."""
    world.ages = APART
    world.put_data(b"garbage")
    world.grow_old()
    for waited in (MARGIN, DAY - 3 * MARGIN, MARGIN):
        assert counts(world.collect(), CollectedKind.DATA) == {"doomed": 1}
        later(world, waited)
    assert counts(world.collect(), CollectedKind.DATA) == {"doomed": 1}
    later(world, 2 * MARGIN)
    assert counts(world.collect(), CollectedKind.DATA) == {"deleted": 1}
    assert world.keys(LISTS) == []


def test_what_is_named_again_is_doomed_no_more(world: World) -> None:
    """A run that doesn't find it unnamed takes it from the list: its wait begins again."""
    world.ages = APART
    record = world.put_data(b"garbage")
    world.grow_old()
    assert world.collect().count(CollectedKind.DATA, Fate.DOOMED) == 1
    world.records.write(record, None)
    world.blobs.make_hold("a", world.new_hold(record))
    later(world, 2 * DAY)
    assert counts(world.collect(), CollectedKind.DATA) == {"named": 1}
    world.store.delete(record_key(record.digest))
    later(world, 2 * DAY)
    assert counts(world.collect(), CollectedKind.DATA) == {"doomed": 1}


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_clock_that_is_days_ahead_once(world: World, wrong: int) -> None:
    """A collector whose clock is days ahead, before or after one that is right, takes no data."""
    world.ages = APART
    world.put_data(b"on its way")
    for turn in range(2):
        seen = World(Later(world.store), APART) if turn == wrong else world
        seen.collect()
        later(world, 2 * DOOM_MINIMUM)
    assert len(world.keys(DATA)) == 1


def test_a_clock_that_is_always_days_ahead(world: World) -> None:
    """Even if it is wrong in every run, the wait is as long as it is by the store's stamps."""
    world.ages = replace(APART, doom=DOOM_MINIMUM)
    world.put_data(b"on its way")
    ahead = World(Later(world.store), world.ages)
    for _ in range(3):
        ahead.collect()
        later(world, DOOM_MINIMUM / 3 - 1)
        assert len(world.keys(DATA)) == 1
    later(world, MARGIN)
    ahead.collect()
    assert world.keys(DATA) == []


def test_less_than_an_hour_is_refused() -> None:
    """Two runs can't be nearer to each other than the wait that commits count on."""
    with pytest.raises(Exception, match="--gc-doom"):
        load(gc_doom=DOOM_MINIMUM - 1)
    assert Ages.of(load(), 0.0).doom == DAY


def doomed_world() -> World:
    """A store in which something was doomed long ago."""
    world = memory_world(ages=APART)
    for number in range(3):
        world.put_data(b"garbage %d" % number)
    world.grow_old()
    world.collect()
    later(world, 2 * DAY)
    return world


def damage_a_line(world: World) -> None:
    """A bit of a data key in the list."""
    [chunk] = [key for key in world.keys(LISTS) if not key.endswith("/complete")]
    body = bytearray(world.store.get(chunk).body)
    body[10] ^= 1
    world.store.put(chunk, bytes(body))


def seal_another_line(world: World) -> None:
    """A line that is none of ours, with a sum that fits."""
    [chunk] = [key for key in world.keys(LISTS) if not key.endswith("/complete")]
    lines = world.store.get(chunk).body.split(b"\n")
    world.store.put(chunk, b"\n".join([sealed("data/x"), *lines[1:]]))


def lose_the_end(world: World) -> None:
    """A list that was broken off."""
    [end] = [key for key in world.keys(LISTS) if key.endswith("/complete")]
    world.store.delete(end)


def lose_a_chunk(world: World) -> None:
    """A list of which a part is gone."""
    [chunk] = [key for key in world.keys(LISTS) if not key.endswith("/complete")]
    world.store.delete(chunk)


def damage_the_end(world: World) -> None:
    """The object that says that a list is complete."""
    [end] = [key for key in world.keys(LISTS) if key.endswith("/complete")]
    world.store.put(end, b"{}")


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (damage_a_line, 1),
        (seal_another_line, 1),
        (lose_the_end, 3),
        (lose_a_chunk, 3),
        (damage_the_end, 3),
    ],
)
def test_a_damaged_list_dooms_nothing(damage: Callable[[World], None], left: int) -> None:
    """What can't be read of the list isn't doomed: its wait begins again, and then it goes."""
    world = doomed_world()
    damage(world)
    world.collect()
    assert len(world.keys(DATA)) == left
    for _ in range(2):
        later(world, 2 * DAY)
        report = world.collect()
    assert report.ok, report.errors
    assert world.keys(DATA) == world.keys(LISTS) == []


@pytest.mark.parametrize("body", [b"{}", newer()])
def test_an_unreadable_list_is_met_once(world: World, body: bytes) -> None:
    """A list that can't be read, damaged or a newer version's, goes even if nothing is doomed."""
    world.store.put(f"{LISTS}{uuid7()}/complete", body)
    assert len(world.collect().errors) == 1
    assert world.keys(LISTS) == []
    assert world.collect().ok


def test_the_newest_list_counts() -> None:
    """Of two complete lists, as a crash may leave them, the one that was stored last counts."""
    world = doomed_world()
    doomed = Doomed(world.store, Spool)
    # Written by a collector whose own clock is years behind: its name sorts first.
    doomed.save("00000000-0000-7000-8000-000000000000", [])
    assert counts(world.collect(), CollectedKind.DATA) == {"doomed": 3}
    assert not any("00000000-" in key for key in world.keys(LISTS))


def test_lists_of_many_chunks(world: World) -> None:
    """A list larger than one object is written and read in parts."""
    world.ages = APART
    keys = [world.put_data(b"garbage %d" % number).data_key for number in range(10)]
    world.grow_old()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.service.collector.lines.chunks.__defaults__", (150,))
        world.collect()
    assert len(world.keys(LISTS)) > 3
    later(world, OLD)
    assert world.collect().count(CollectedKind.DATA, Fate.DELETED) == len(keys)
