"""A collector may die at any request, and any number may run: the outcome is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.digests import Digest
from storage.keys import DELETING, RECORDS, hold_prefix, tail_key, uuid7
from storage.records import State
from tests.service.collector.world import EAGER, OLD, Killed, Later, World, folder_world
from tests.service.counting import nothing

HELD = (b"held", b"held by two", b"condemned, held")
"""What was acknowledged to somebody who hasn't deleted it."""
ROUNDS = 3
"""Runs after which nothing is left to do: finishing deletes may unhold what the next takes."""


def furnish(root: Path) -> World:
    """A store with a bit of everything, old enough for all of it to matter."""
    world = folder_world(root, EAGER)
    for body in HELD:
        world.commit("a", body)
    world.adopt("b", Digest.of(b"held by two"))
    world.turn(Digest.of(b"condemned, held"), State.CONDEMNED)
    for body in (b"live", b"condemned", b"corrupt", b"tombstone"):
        digest = world.commit("a", body)
        world.blobs.drop("a", digest)
        if body != b"live":
            world.turn(digest, State(body.decode()))
    world.put_data(b"redundant")
    marked = world.commit("a", b"half deleted")
    [hold] = world.keys(hold_prefix("a", marked))
    world.store.put(hold + DELETING, b"")
    world.store.put(tail_key(uuid7()), b"tail")
    world.store._store = Later(world.store._store, 0)
    world.store.create_upload("data/upload")
    world.store._store.ahead = OLD
    world.grow_old(RECORDS, "data/", "holds/")
    return world


def settled(world: World) -> dict[str, str]:
    """What is left when the collector has nothing to do any more; data by how much there is."""
    for _ in range(ROUNDS):
        report = world.collect()
        assert report.ok, report.errors
    told = world.tell()
    assert [world.read(Digest.of(body)) for body in HELD] == list(HELD)
    names = [key for key in told if not key.startswith(RECORDS)]
    kinds = {key: told[key] for key in told if key.startswith(RECORDS)}
    for name in names:
        kind = name.partition("/")[0]
        kinds[kind] = f"{int(kinds.get(kind, '0')) + 1}"
    return kinds


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


def requests_of_a_run(root: Path) -> int:
    """How many requests an undisturbed run makes."""
    world = furnish(root)
    world.store.calls.clear()
    world.collect()
    return len(world.store.calls)


@pytest.mark.parametrize("when", ["before", "after"])
def test_death_at_every_request(tmp_path: Path, when: str) -> None:
    """Wherever a collector dies, before a request or before its reply, the next ends its work."""
    wanted = settled(furnish(tmp_path / "undisturbed"))
    total = requests_of_a_run(tmp_path / "counted")
    assert total > 30
    for number in range(total):
        world = furnish(tmp_path / str(number))
        assert killed_at(number, when, world)
        assert settled(world) == wanted, f"dead at request {number}"
    assert not killed_at(total, when, furnish(tmp_path / "last"))


def test_spools_go_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends a run, its temporary files are gone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    world = furnish(tmp_path / "store")
    assert killed_at(10, "before", world)
    assert list(folder.iterdir()) == []


def during(world: World, number: int, act: Callable[[World], Any]) -> Any:
    """Runs a collector; somebody acts before its `number`-th request. What came of it."""
    made, outcome = 0, None

    def meddle(operation: str, key: str) -> None:
        nonlocal made, outcome
        del operation, key
        if made == number:
            world.store.before = nothing
            outcome = act(world.beside())
        made += 1

    world.store.before = meddle
    try:
        report = world.collect()
    finally:
        world.store.before = nothing
    assert report.ok, report.errors
    return outcome


SUBJECTS = [b"held", b"live", b"condemned", b"corrupt", b"tombstone", b"new"]


@pytest.mark.parametrize("body", SUBJECTS)
def test_a_commit_at_every_request(tmp_path: Path, body: bytes) -> None:
    """Whenever a tenant commits beside a collector, what it was told it has can be read."""
    for number in range(requests_of_a_run(tmp_path / "counted") + 1):
        world = furnish(tmp_path / str(number))
        during(world, number, lambda beside: beside.commit("c", body))
        settled(world)
        assert world.read(Digest.of(body)) in {body, None}
        if number < len(world.store.calls):
            assert world.blobs.held("c", Digest.of(body))


@pytest.mark.parametrize("body", SUBJECTS[:-1])
def test_an_adoption_at_every_request(tmp_path: Path, body: bytes) -> None:
    """Whenever a tenant takes what the fleet has, beside a collector, it has it or is told no."""
    outcomes = set()
    for number in range(requests_of_a_run(tmp_path / "counted")):
        world = furnish(tmp_path / str(number))
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
        }[body]
    )


def test_a_second_collector_at_every_request(tmp_path: Path) -> None:
    """Whenever a second collector runs beside the first, both end well, with the same outcome."""
    wanted = settled(furnish(tmp_path / "undisturbed"))
    for number in range(requests_of_a_run(tmp_path / "counted")):
        world = furnish(tmp_path / str(number))
        report = during(world, number, lambda beside: beside.collect())
        assert report.ok, report.errors
        assert settled(world) == wanted, f"at request {number}"


def test_a_delete_at_every_request(tmp_path: Path) -> None:
    """Whenever one of two tenants deletes beside a collector, the other one reads on."""
    for number in range(requests_of_a_run(tmp_path / "counted")):
        world = furnish(tmp_path / str(number))
        shared = Digest.of(b"held by two")
        assert during(world, number, lambda beside: beside.blobs.drop("a", shared)) == 1
        settled(world)
        assert world.read(shared) == b"held by two"
