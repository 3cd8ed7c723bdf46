"""Operations of which a collector sees one half: every pair of its requests lies between."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.errors import Aborted
from holdfast.storage.records import State
from tests.service.collector.world import MINDFUL, OLD, World, marker, memory_world
from tests.stores.counting import nothing
from tests.stores.memory import MemoryStore

BODY = b"content"
DIGEST = Digest.of(BODY)
Half = Callable[[World], Any]


@cache
def _stocked(state: State) -> MemoryStore:
    store = MemoryStore()
    world = memory_world(store, MINDFUL)
    world.commit("a", BODY)
    world.blobs.drop("a", DIGEST)
    if state is not State.LIVE:
        world.turn(DIGEST, state)
    store.put(marker(DIGEST, len(BODY)), b"")
    store.time += OLD
    return store


def one_blob(state: State) -> World:
    """A store with one blob that nobody holds, old enough to go; a listing shows one a page."""
    return memory_world(_stocked(state).copy(), MINDFUL, page=1)


def between(world: World, first: int, second: int, halves: tuple[Half, Half]) -> Any:
    """Runs a collector, and an operation's halves before two of its requests.

    The second half is given what the first returned. A collector that makes fewer
    requests meets the rest when it has ended.
    """
    made = 0
    handed: Any = None
    done: list[Any] = []

    def meddle(operation: str, key: str) -> None:
        nonlocal made, handed
        del operation, key
        beside = world.beside()
        if made == first:
            handed = halves[0](beside)
        if made == second:
            done.append(halves[1](handed)(beside))
        made += 1

    world.store.before = meddle
    try:
        report = world.collect()
    finally:
        world.store.before = nothing
    assert report.ok, report.errors
    if made <= first:
        handed = halves[0](world.beside())
    return done[0] if done else halves[1](handed)(world.beside())


def commit_begins(world: World) -> Any:
    """Data complete, hold confirmed: what may run at once before the record."""
    record = world.put_data(BODY)
    return record, world.blobs.make_hold("b", world.new_hold(record))


def commit_ends(begun: Any) -> Half:
    """The record; True if the commit was acknowledged."""
    record, hold_key = begun

    def end(world: World) -> bool:
        try:
            world.publish("b", record, hold_key)
        except Aborted:
            return False
        return True

    return end


def adoption_begins(world: World) -> Any:
    """The hold of an adoption."""
    seen = world.records.read(DIGEST)
    if seen is None or not seen.record.readable:
        return None
    return world.holds.make("b", world.new_hold(seen.record))


def adoption_ends(hold_key: Any) -> Half:
    """The record read after it; True if the adoption was acknowledged."""
    return lambda world: hold_key is not None and world.blobs.live(DIGEST) is not None


OPERATIONS = {
    "commit": (commit_begins, commit_ends),
    "adoption": (adoption_begins, adoption_ends),
}


def pairs(state: State) -> list[tuple[int, int]]:
    """Two moments in a run of the collector, the earlier first, the last after its end."""
    world = one_blob(state)
    world.collect()
    # Holds and data that come meanwhile make listings longer.
    return list(combinations_with_replacement(range(len(world.store.calls) + 4), 2))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED, State.CORRUPT, State.TOMBSTONE])
def test_halves_between_all_requests(name: str, state: State) -> None:
    """An operation whose halves lie anywhere in a collector's run is lost to none of it."""
    said = set()
    for first, second in pairs(state):
        world = one_blob(state)
        acknowledged = between(world, first, second, OPERATIONS[name])
        said.add(acknowledged)
        for _ in range(2):
            # What a later collector finds, when the records are older than its grace.
            world.memory.time += OLD
            assert world.collect().ok
        if acknowledged:
            assert world.read(DIGEST) == BODY, f"lost between {first} and {second}"
            assert world.blobs.held("b", DIGEST)
    readable = state in {State.LIVE, State.CONDEMNED}
    assert (True in said) == (name == "commit" or readable)
