"""Data that no record names is deleted, when it is old enough, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.digests import Digest
from holdfast.service.collector.brakes import BrakeReason
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.fleet import declare_lifetime
from holdfast.storage.keys import DATA, RECORDS, record_key
from holdfast.storage.records import State
from tests.service.collector.world import EAGER, World, counts
from tests.storage.edited import newer
from tests.stores.counting import nothing


def test_garbage_goes_and_data_stays(old_world: World) -> None:
    """Data that no record names is deleted, and its bytes are counted as freed."""
    digest = old_world.commit("a", b"kept")
    old_world.put_data(b"redundant")
    assert counts(old_world.collect(), CollectedKind.DATA) == {"named": 1, "doomed": 1}
    report = old_world.collect()
    assert old_world.keys(DATA) == [old_world.data_of(digest)]
    assert counts(report, CollectedKind.DATA) == {"named": 1, "deleted": 1}
    assert report.freed == len(b"redundant")


def test_young_data_stays(world: World) -> None:
    """Data younger than G is kept, whatever names it: an ingest may be on its way."""
    world.put_data(b"young")
    world.grow_old(seconds=world.ages.data - 60)
    assert counts(world.collect(), CollectedKind.DATA) == {"young": 1}
    world.grow_old(seconds=120)
    assert counts(world.collect(), CollectedKind.DATA) == {"doomed": 1}
    assert counts(world.collect(), CollectedKind.DATA) == {"deleted": 1}


@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED, State.CORRUPT])
def test_every_record_protects(world: World, state: State) -> None:
    """A live, a condemned and a corrupt record each keep their data: a verdict may be wrong."""
    digest = world.commit("a", b"kept")
    world.turn(digest, state)
    world.grow_old()
    report = world.collect()
    assert world.keys(DATA) == [world.data_of(digest)]
    assert counts(report, CollectedKind.DATA) == {"named": 1}


def test_a_young_tombstone_protects(world: World) -> None:
    """The data of a blob that went just now stays for the read grace, for who still reads it."""
    digest = world.commit("a", b"read on")
    world.blobs.drop("a", digest)
    world.grow_old()
    world.collect()
    assert world.state(digest) is State.TOMBSTONE
    assert counts(world.collect(), CollectedKind.DATA) == {"read_grace": 1}
    assert world.keys(DATA)
    world.grow_old(RECORDS, seconds=world.ages.read_grace + 60)
    assert counts(world.collect(), CollectedKind.DATA) == {"doomed": 1}
    assert counts(world.collect(), CollectedKind.DATA) == {"deleted": 1}
    assert world.keys() == [record_key(digest)]


def test_records_are_read_after_data_is_listed(world: World) -> None:
    """All records are read after the last data object was listed, before any is deleted."""
    world.commit("a", b"kept")
    world.put_data(b"gone")
    world.grow_old()
    world.collect()
    world.store.calls.clear()
    world.collect()
    order = [(name, key.partition("/")[0]) for name, key in world.store.calls]
    assert [call for call in order if call[1] not in {"holds", "collector", "retained"}][:5] == [
        ("list", "data"),
        ("list", "blobs"),
        ("get", "blobs"),
        ("get", "fleet"),
        ("delete", "data"),
    ]


def test_without_old_data_no_known_record_is_read(world: World) -> None:
    """Where no data is old, a held record that one run has read isn't read again."""
    world.commit("a", b"young")
    world.collect()
    world.store.calls.clear()
    world.collect()
    assert "get" not in world.store.operations(RECORDS)


@pytest.mark.parametrize("body", [b"{", newer()])
def test_nothing_is_deleted_by_a_record_that_cannot_be_read(world: World, body: bytes) -> None:
    """While a held record is damaged, or of a newer format, no data at all is deleted."""
    digest, other = world.commit("a", b"unreadable"), world.commit("a", b"other")
    world.store.put(record_key(digest), body)
    world.put_data(b"garbage")
    world.grow_old()
    accepted = frozenset({BrakeReason.UNREADABLE})
    report = world.collect_twice(accept=accepted)
    assert len(world.keys(DATA)) == 3
    assert not report.ok
    assert any("none is deleted" in error and "scrub" in error for error in report.errors)
    assert counts(report, CollectedKind.DATA) == {"unsure": 2, "named": 1}
    assert world.read(other) == b"other"


def test_a_strange_object_among_records_keeps_data(world: World) -> None:
    """An object among the records that isn't one by its name may be of a newer version."""
    world.store.put("blobs/blake3/00", b"{}")
    world.put_data(b"garbage")
    world.grow_old()
    report = world.collect_twice()
    assert not report.ok
    assert world.keys(DATA)


def test_a_longer_life_declared_meanwhile_keeps_data(world: World) -> None:
    """When a frontend declares a longer life during a run, that run deletes no data."""
    world.put_data(b"garbage")
    world.grow_old()

    def declare(operation: str, key: str) -> None:
        if (operation, key) == ("list", DATA):
            declare_lifetime(world.beside().store, world.ages.ingest_lifetime + 1)

    world.collect()
    world.store.before = declare
    report = world.collect()
    world.store.before = nothing
    assert world.keys(DATA)
    assert "declared meanwhile" in report.errors[0]
    world.ages = replace(world.ages, ingest_lifetime=world.ages.ingest_lifetime + 1)
    assert world.collect().count(CollectedKind.DATA, Fate.DELETED) == 1


def test_a_dead_hold_is_told_of(world: World) -> None:
    """A digest that is held while its record says that it is gone is counted and kept."""
    digest = world.commit("a", b"gone")
    world.turn(digest, State.TOMBSTONE)
    world.grow_old()
    report = world.collect()
    assert counts(report, CollectedKind.HOLDS) == {"without_content": 1}
    assert len(world.keys("holds/")) == 1


def test_ten_tenants(world: World) -> None:
    """Nine of ten tenants delete and the tenth reads on; after the tenth only tombstones stay."""
    world.ages = EAGER
    tenants = [f"t{n}" for n in range(10)]
    digests = [world.commit(tenant, body) for body in (b"a", b"b") for tenant in tenants]
    wanted: list[Digest] = sorted(set(digests))
    world.grow_old()
    for tenant in tenants[:9]:
        for digest in wanted:
            world.blobs.drop(tenant, digest)
    world.collect_twice()
    assert [world.read(digest) for digest in wanted] == [
        {Digest.of(body): body for body in (b"a", b"b")}[digest] for digest in wanted
    ]
    # What nineteen commits brought in vain is gone.
    assert len(world.keys(DATA)) == 2
    for digest in wanted:
        world.blobs.drop("t9", digest)
    world.collect()
    world.collect_twice()
    assert world.keys() == [record_key(digest) for digest in wanted]
    assert {world.state(digest) for digest in wanted} == {State.TOMBSTONE}
