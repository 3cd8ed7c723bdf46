"""Tails and uploads that crashes left are removed when they are old."""

from __future__ import annotations

from holdfast.errors import Unavailable
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.keys import HOLDS, SNAPSHOTS, TAILS, data_key, tail_key, uuid7
from holdfast.storage.port import MIN_PART_SIZE
from holdfast.storage.records import new_nonce
from holdfast.storage.snapshots import COMPLETE, Snapshots
from tests.service.collector.world import Later, World, counts
from tests.stores.counting import nothing


def test_old_tails_go(world: World) -> None:
    """A tail, or what a probe left, goes when it is older than G, and not before."""
    old, probed = tail_key(uuid7()), f"probe/{uuid7()}/object"
    for key in (old, probed):
        world.store.put(key, b"tail")
    world.grow_old()
    young = tail_key(uuid7())
    world.store.put(young, b"young")
    report = world.collect()
    assert world.keys(TAILS) == [young]
    assert world.keys() == [young]
    assert counts(report, CollectedKind.TAILS) == {"deleted": 2, "young": 1}
    assert report.freed == 8


def test_a_rehearsal_leaves_tails(world: World) -> None:
    """A dry run says which tails would go, and deletes none."""
    world.store.put(tail_key(uuid7()), b"left")
    world.grow_old()
    assert counts(world.collect(dry=True), CollectedKind.TAILS)["deleted"] == 1
    assert len(world.keys(TAILS)) == 1


def test_old_uploads_are_aborted(old_world: World) -> None:
    """An upload that was begun before G is aborted, with its parts."""
    key = data_key(uuid7())
    upload = old_world.store.create_upload(key)
    old_world.store.put_part(key, upload.id, 1, bytes(MIN_PART_SIZE))
    report = old_world.collect()
    assert report.ok, report.errors
    assert list(old_world.store.list_uploads("data/")) == []
    assert counts(report, CollectedKind.UPLOADS) == {"aborted": 1}


def test_young_uploads_stay(world: World) -> None:
    """An upload that may still be completed is left alone."""
    upload = world.store.create_upload(data_key(uuid7()))
    for ahead, found in ((0.0, {"young": 1}), (world.ages.data + 60, {"aborted": 1})):
        later = World(Later(world.store, ahead))
        assert counts(later.collect(), CollectedKind.UPLOADS) == found
    assert not [u for u in world.store.list_uploads("") if u.id == upload.id]


def test_what_an_upload_became_stays(old_world: World) -> None:
    """An upload that is completed while it is being aborted loses nothing: it is data then."""
    key = data_key(uuid7())
    upload = old_world.store.create_upload(key)
    part = old_world.store.put_part(key, upload.id, 1, b"bytes")

    def complete(operation: str, at: str) -> None:
        if (operation, at) == ("abort_upload", key):
            old_world.beside().store.complete_upload(key, upload.id, [part])

    old_world.store.before = complete
    report = old_world.collect()
    assert report.ok, report.errors
    assert old_world.store.get(key).body == b"bytes"


def a_snapshot(world: World, tenant: str, *, complete: bool = True) -> list[str]:
    """A snapshot of what a tenant holds; its keys."""
    writing = Snapshots(world.store, new_nonce, 1).begin(tenant)
    before = set(world.keys(SNAPSHOTS))
    for group in world.holds.groups(tenant):
        writing.add(world.holds.load(group))
    if complete:
        writing.finish()
    return sorted(set(world.keys(SNAPSHOTS)) - before)


def test_old_snapshots_go(world: World) -> None:
    """A tenant's newest snapshot stays, however old; others go when they are older than G."""
    for tenant in ("a", "a-b", "b"):
        for body in (b"one", b"two"):
            world.commit(tenant, body)
    kept = [*a_snapshot(world, "a"), *a_snapshot(world, "a-b")]
    broken = a_snapshot(world, "a", complete=False)
    alone = a_snapshot(world, "b", complete=False)
    stale = [f"{SNAPSHOTS}a/{uuid7(0)}/{COMPLETE}"]
    for key in stale:
        world.store.put(key, b"")
    assert len(kept) == 6
    assert len(broken) == len(alone) == 1
    assert counts(world.collect(), CollectedKind.SNAPSHOTS) == {"in_use": 6, "young": 3}
    world.grow_old()
    assert counts(world.collect(dry=True), CollectedKind.SNAPSHOTS) == {"in_use": 6, "deleted": 3}
    assert set(world.keys(SNAPSHOTS)) == {*kept, *broken, *alone, *stale}
    assert counts(world.collect(), CollectedKind.SNAPSHOTS) == {"in_use": 6, "deleted": 3}
    assert world.keys(SNAPSHOTS) == sorted(kept)


def test_snapshots_of_nothing_go(world: World) -> None:
    """A snapshot of a tenant that holds nothing any more goes when it is older than G."""
    digest = world.commit("a", b"one")
    a_snapshot(world, "a")
    world.holds.drop("a", digest)
    assert counts(world.collect(), CollectedKind.SNAPSHOTS) == {"young": 2}
    world.grow_old()
    assert counts(world.collect(), CollectedKind.SNAPSHOTS) == {"deleted": 2}
    assert world.keys(SNAPSHOTS) == []


def test_an_upload_that_will_not_end_keeps_no_other(world: World) -> None:
    """An upload whose parts keep arriving is told of, and the others are aborted."""
    keys = [data_key(uuid7()) for _ in range(3)]
    for key in keys:
        world.store.create_upload(key)

    def refuse(operation: str, at: str) -> None:
        if (operation, at) == ("abort_upload", keys[1]):
            raise Unavailable("parts of it keep arriving")

    world.store.before = refuse
    world.store.inner = Later(world.store.inner)
    report = world.collect()
    assert report.count(CollectedKind.UPLOADS, Fate.ABORTED) == 2
    assert [upload.key for upload in world.store.list_uploads("")] == [keys[1]]
    assert keys[1] in report.errors[0]


def test_a_failing_pass_keeps_no_other_from_running(world: World) -> None:
    """When the store can't be looked at, that is told of, and what needs no look is done."""
    world.store.put(tail_key(uuid7()), b"tail")
    world.put_data(b"garbage")
    world.grow_old()

    def refuse(operation: str, key: str) -> None:
        if operation == "list" and key == HOLDS:
            raise Unavailable("slow down")

    world.store.before = refuse
    report = world.collect()
    world.store.before = nothing
    assert [error.partition(":")[0] for error in report.errors] == ["looking at the store"]
    assert world.keys(TAILS) == []
    assert len(world.keys("data/")) == 1
