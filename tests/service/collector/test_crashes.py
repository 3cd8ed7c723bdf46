"""A collector may die at any request, and any number may run: the outcome is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.storage.keys import DELETING, HOLDS, RECORDS, hold_prefix, tail_key, uuid7
from holdfast.storage.records import State
from tests.service.collector.world import MINDFUL, OLD, Killed, World, marker, memory_world
from tests.stores.counting import nothing
from tests.stores.memory import MemoryStore

HELD = (b"held", b"held by two", b"condemned, held")
"""What was acknowledged to somebody who hasn't deleted it."""
ROUNDS = 5
"""Runs after which nothing is left to do: a broken-off delete is taken back, a record buried,
its data doomed, then deleted."""


def furnish() -> World:
    """A store with a bit of everything, old enough for all of it to matter."""
    return memory_world(_furnished().copy(), MINDFUL)


@cache
def _furnished() -> MemoryStore:
    store = MemoryStore()
    world = memory_world(store, MINDFUL)
    for body in HELD:
        world.commit("a", body)
    world.adopt("b", Digest.of(b"held by two"))
    world.turn(Digest.of(b"condemned, held"), State.CONDEMNED)
    for body in (b"live", b"condemned", b"corrupt", b"tombstone", b"retained"):
        digest = world.commit("a", body)
        world.blobs.drop("a", digest)
        if body not in {b"live", b"retained"}:
            world.turn(digest, State(body.decode()))
    for body in (b"live", b"tombstone", b"held", b"never there"):
        store.put(marker(Digest.of(body), len(body)), b"")
    world.put_data(b"redundant")
    marked = world.commit("a", b"half deleted")
    [hold] = world.keys(hold_prefix("a", marked))
    world.store.put(hold + DELETING, b"")
    world.store.put(tail_key(uuid7()), b"tail")
    store.create_upload("data/upload")
    store.time += OLD
    given_up = world.commit("a", b"given up")
    world.blobs.drop("a", given_up)
    store.put(marker(Digest.of(b"retained"), len(b"retained")), b"")
    return store


def settled(world: World) -> dict[str, str]:
    """What is left when the collector has nothing to do any more.

    Records by their state, data and holds by how many there are; of holds on one
    digest one tenant may have several.
    """
    for _ in range(ROUNDS):
        report = world.collect()
        assert report.ok, report.errors
    assert [world.read(Digest.of(body)) for body in HELD] == list(HELD)
    told = world.tell()
    rest = {key for key in told if not key.startswith(RECORDS)}
    held = {key.rpartition("/")[0] for key in rest if key.startswith(HOLDS)}
    assert not [key for key in rest if key.endswith(DELETING)]
    kinds = Counter(key.partition("/")[0] for key in rest if not key.startswith(HOLDS))
    return {
        **{key: state for key, state in told.items() if key.startswith(RECORDS)},
        **{kind: str(number) for kind, number in kinds.items()},
        "held": str(sorted(held)),
    }


def killed_at(number: int, when: str, world: World) -> bool:
    """Runs a collector that dies at its `number`-th request; False if it needs fewer."""
    made = 0

    def die(operation: str, key: str) -> None:
        nonlocal made
        del operation, key
        made += 1
        if made > number:
            raise Killed

    setattr(world.store, when, die)
    try:
        world.collect()
    except Killed:
        return True
    finally:
        world.store.before = world.store.after = nothing
    return False


def requests_of_a_run() -> range:
    """The numbers of an undisturbed run's requests."""
    world = furnish()
    world.collect()
    assert len(world.store.calls) > 50
    return range(len(world.store.calls))


@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_every_request(when: str) -> None:
    """Wherever a collector dies, before a request or before its reply, the next ends its work."""
    wanted = settled(furnish())
    deaths = 0
    for number in requests_of_a_run():
        world = furnish()
        deaths += killed_at(number, when, world)
        assert settled(world) == wanted, f"dead at request {number}"
    # One request is answered with "there is none", after which no hook is called.
    assert deaths == len(requests_of_a_run()) - (when == "after")


def during(world: World, number: int, act: Callable[[World], Any]) -> Any:
    """Runs a collector; somebody acts before its `number`-th request. What came of it."""
    made = 0
    outcome: list[Any] = []

    def meddle(operation: str, key: str) -> None:
        nonlocal made
        del operation, key
        if made == number:
            outcome.append(act(world.beside()))
        made += 1

    world.store.before = meddle
    try:
        report = world.collect()
    finally:
        world.store.before = nothing
    assert report.ok, report.errors
    [found] = outcome
    return found


SUBJECTS = [
    *(b"held", b"live", b"condemned", b"corrupt", b"tombstone"),
    *(b"given up", b"new"),
]


@pytest.mark.parametrize("body", SUBJECTS)
def test_a_commit_at_every_request(body: bytes) -> None:
    """Whenever a tenant commits beside a collector, it has what it was told it has."""
    for number in requests_of_a_run():
        world = furnish()
        digest = during(world, number, lambda beside: beside.commit("c", body))
        settled(world)
        assert world.read(digest) == body, f"lost at request {number}"
        assert world.blobs.held("c", digest)


@pytest.mark.parametrize("body", SUBJECTS[:-1])
def test_an_adoption_at_every_request(body: bytes) -> None:
    """Whenever a tenant takes what the fleet has, beside a collector, it has it or is told no."""
    outcomes = set()
    for number in requests_of_a_run():
        world = furnish()
        found = during(world, number, lambda beside: beside.adopt("c", Digest.of(body)))
        settled(world)
        outcomes.add(found is not None)
        if found is not None:
            assert world.read(Digest.of(body)) == body, f"lost at request {number}"
    assert (
        outcomes
        == {
            b"held": {True},
            b"live": {True, False},
            b"condemned": {True, False},
            b"corrupt": {False},
            b"tombstone": {False},
            b"given up": {True},
        }[body]
    )


def test_a_second_collector_at_every_request() -> None:
    """Whenever a second collector runs beside the first, both end well, with the same outcome."""
    wanted = settled(furnish())
    for number in requests_of_a_run():
        world = furnish()
        report = during(world, number, lambda beside: beside.collect())
        assert report.ok, report.errors
        assert settled(world) == wanted, f"at request {number}"


def test_a_delete_at_every_request() -> None:
    """Whenever one of two tenants deletes beside a collector, the other one reads on."""
    shared = Digest.of(b"held by two")
    for number in requests_of_a_run():
        world = furnish()
        assert during(world, number, lambda beside: beside.blobs.drop("a", shared)) == 1
        settled(world)
        assert world.read(shared) == b"held by two"
