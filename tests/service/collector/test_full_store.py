"""The collector over a store in which nothing can be written any more."""

from __future__ import annotations

from holdfast.errors import ResourceExhausted
from holdfast.storage.keys import TAILS, tail_key, uuid7
from holdfast.storage.records import State
from tests.service.collector.world import APART, World
from tests.stores.counting import nothing


def full(operation: str, key: str) -> None:
    """A hook that lets nothing be written."""
    if operation in {"put", "put_part", "create_upload", "complete_upload"}:
        raise ResourceExhausted(f"{key}: the disk is full")


def test_it_frees_what_needs_no_write(world: World) -> None:
    """Data and tails that nobody names go, though no record can be changed."""
    digest = world.commit("a", b"given up")
    world.holds.drop("a", digest)
    lone = world.put_data(b"lone").data_key
    world.store.put(tail_key(uuid7()), b"tail")
    world.grow_old()
    world.ages = APART
    world.collect()
    world.turn(digest, State.LIVE)
    world.grow_old()
    world.store.before = full
    report = world.collect()
    assert not report.ok
    assert any("full" in error for error in report.errors)
    assert lone not in world.keys("data/")
    assert world.keys(TAILS) == []
    assert world.read(digest) == b"given up"


def test_it_goes_on_when_there_is_room(world: World) -> None:
    """A run that could write nothing has spoilt nothing: the next one buries what is left."""
    digest = world.commit("a", b"given up")
    world.holds.drop("a", digest)
    world.grow_old()
    world.store.before = full
    world.collect()
    assert world.state(digest) is State.LIVE
    world.store.before = nothing
    report = world.collect()
    assert report.ok, report.errors
    assert world.state(digest) is State.TOMBSTONE
