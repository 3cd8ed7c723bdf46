"""Records that no hold names are condemned, then buried, and nothing else is."""

from __future__ import annotations

import pytest

from holdfast.digests import Digest
from holdfast.service.collector.brakes import BrakeReason
from holdfast.service.collector.records import Burial, Condemnation
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.storage.keys import DELETING, RECORDS, record_key
from holdfast.storage.records import FORMAT, State
from tests.service.collector.world import APART, World, counts, looked
from tests.storage.edited import edited
from tests.stores.counting import nothing


def test_unheld_is_buried(old_world: World) -> None:
    """A blob that nobody holds becomes a tombstone, one that is held stays."""
    held, gone = old_world.commit("a", b"held"), old_world.commit("a", b"gone")
    old_world.blobs.drop("a", gone)
    report = old_world.collect()
    assert report.ok, report.errors
    assert old_world.read(held) == b"held"
    assert old_world.state(gone) is State.TOMBSTONE
    assert counts(report, CollectedKind.RECORDS) == {"held": 1, "condemned": 1, "buried": 1}
    rows = {(kind, fate): tally.bytes for kind, fate, tally in report.rows()}
    assert rows[CollectedKind.RECORDS, Fate.BURIED] == 4


def test_one_hold_of_many_is_enough(old_world: World) -> None:
    """A blob stays as long as one tenant of many holds it, and goes with the last."""
    digest = old_world.commit("a", b"shared")
    for tenant in "bcd":
        assert old_world.adopt(tenant, digest)
    for tenant in "abc":
        old_world.blobs.drop(tenant, digest)
        old_world.collect()
        assert old_world.read(digest) == b"shared"
    old_world.blobs.drop("d", digest)
    old_world.collect()
    assert old_world.state(digest) is State.TOMBSTONE


def test_only_what_nobody_holds_is_read(world: World) -> None:
    """Of the records that are known by now those alone are read that no hold names."""
    for body in (b"1", b"2", b"3"):
        world.commit("a", body)
    world.collect()
    gone = world.commit("a", b"gone")
    world.blobs.drop("a", gone)
    world.store.calls.clear()
    world.collect()
    read = {key for name, key in world.store.calls if name == "get" and key.startswith(RECORDS)}
    assert read == {record_key(gone)}


@pytest.mark.parametrize("state", [State.CONDEMNED, State.CORRUPT])
def test_what_another_collector_left_is_buried(world: World, state: State) -> None:
    """A record that is condemned or corrupt, and unheld, is buried however young it is."""
    digest = world.commit("a", b"left")
    world.blobs.drop("a", digest)
    world.turn(digest, state)
    report = world.collect()
    assert world.state(digest) is State.TOMBSTONE
    assert report.count(CollectedKind.RECORDS, Fate.CONDEMNED) == 0


def test_a_held_corrupt_record_stays(world: World) -> None:
    """A corrupt record that somebody holds is left to whoever heals it."""
    digest = world.commit("a", b"bad")
    world.turn(digest, State.CORRUPT)
    world.collect()
    assert world.state(digest) is State.CORRUPT
    world.commit("b", b"bad")
    world.collect()
    assert world.read(digest) == b"bad"


def test_a_corrupt_record_that_is_held_meanwhile_stays(world: World) -> None:
    """A hold that only the second listing finds doesn't make a corrupt record live."""
    digest = world.commit("a", b"bad")
    world.turn(digest, State.CORRUPT)
    world.blobs.drop("a", digest)
    world.grow_old(RECORDS)
    with world.a_run() as run:
        survey = looked(run)
        world.blobs.make_hold("b", world.new_hold(world.put_data(b"bad")))
        Burial(run)(survey.bury, survey.held)
    assert world.state(digest) is State.CORRUPT


def test_a_mark_counts_as_a_hold(world: World) -> None:
    """A delete that was broken off after its mark still holds, until it is carried out."""
    digest = world.commit("a", b"marked")
    [hold] = world.keys("holds/")
    world.store.put(hold + DELETING, b"")
    world.store.delete(hold)
    world.grow_old(RECORDS)
    report = world.collect()
    assert world.state(digest) is State.LIVE
    assert counts(report, CollectedKind.HOLDS) == {"marked": 1, "young": 1}


def test_a_held_candidate_is_pardoned(world: World) -> None:
    """A hold that the second listing finds makes a condemned record live again."""
    digest = world.commit("a", b"pardoned")
    world.blobs.drop("a", digest)
    world.grow_old(RECORDS)
    with world.a_run() as run:
        survey = looked(run)
        Condemnation(run)(survey.condemn, survey.bury)
        assert world.state(digest) is State.CONDEMNED
        # A commit that died between its hold and its record.
        world.blobs.make_hold("b", world.new_hold(world.put_data(b"pardoned")))
        Burial(run)(survey.bury, survey.held)
    assert world.state(digest) is State.LIVE
    assert counts(run.report, CollectedKind.RECORDS) == {"condemned": 1, "pardoned": 1}


def test_the_second_listing_is_a_new_one(world: World) -> None:
    """Holds are listed a second time after the last candidate was read."""
    digest = world.commit("a", b"x")
    world.blobs.drop("a", digest)
    world.grow_old(RECORDS)
    world.store.calls.clear()
    with world.a_run() as run:
        survey = looked(run)
        Condemnation(run)(survey.condemn, survey.bury)
        Burial(run)(survey.bury, survey.held)
    calls = [(name, key.partition("/")[0]) for name, key in world.store.calls]
    assert [call for call in calls if call[1] in {"holds", "blobs"}] == [
        ("list", "holds"),
        ("list", "blobs"),
        ("get", "blobs"),
        ("get", "blobs"),
        ("put", "blobs"),
        ("list", "holds"),
        ("get", "blobs"),
        ("put", "blobs"),
    ]


def test_a_candidate_that_was_changed_is_left(world: World) -> None:
    """A record that somebody pardoned since it was read isn't buried, and that is no error."""
    digest = world.commit("a", b"pardoned")
    world.blobs.drop("a", digest)
    world.grow_old(RECORDS)
    with world.a_run() as run:
        survey = looked(run)
        Condemnation(run)(survey.condemn, survey.bury)
        assert world.adopt("b", digest)
        world.blobs.drop("b", digest)  # so that the second listing finds no hold
        Burial(run)(survey.bury, survey.held)
    assert world.state(digest) is State.LIVE
    assert counts(run.report, CollectedKind.RECORDS) == {"condemned": 1, "raced": 1}
    assert run.report.ok


def test_a_candidate_that_was_condemned_again_is_left(world: World) -> None:
    """A record that was taken over and condemned again since it was read isn't buried."""
    # Another collector, without a grace, has listed the holds before the one that counts.
    digest = world.commit("a", b"taken over")
    world.blobs.drop("a", digest)
    world.turn(digest, State.CONDEMNED)
    world.grow_old(RECORDS)
    with world.a_run() as run:
        survey = looked(run)

        def take_over(operation: str, key: str) -> None:
            if (operation, key) == ("get", record_key(digest)):
                world.store.before = nothing
                beside = world.beside()
                assert beside.adopt("b", digest)
                beside.turn(digest, State.CONDEMNED)

        world.store.before = take_over
        Burial(run)(survey.bury, survey.held)
    assert world.read(digest) == b"taken over"
    assert counts(run.report, CollectedKind.RECORDS) == {"raced": 1}


def test_a_damaged_record_is_buried_for_good(world: World) -> None:
    """A damaged record that nobody holds becomes a readable tombstone, if somebody says so."""
    digest = world.commit("a", b"damaged")
    world.blobs.drop("a", digest)
    world.store.put(record_key(digest), b"{")
    assert not world.collect().ok
    assert not world.collect(accept=frozenset({BrakeReason.UNREADABLE})).ok
    assert world.state(digest) is State.TOMBSTONE
    report = world.collect()
    assert report.ok, report.errors
    assert counts(report, CollectedKind.RECORDS) == {"tombstone": 1}
    assert world.commit("b", b"damaged") == digest
    assert world.read(digest) == b"damaged"


def test_a_newer_record_is_left(world: World) -> None:
    """A record of a newer format stops a run; if that is accepted, all others are buried."""
    newer, gone = world.commit("a", b"newer"), world.commit("a", b"gone")
    for digest in (newer, gone):
        world.blobs.drop("a", digest)
    body = world.store.get(record_key(newer)).body
    changed = edited(body, format=FORMAT + 1)
    world.store.put(record_key(newer), changed)
    world.grow_old(RECORDS)
    report = world.collect()
    assert any("upgrade Holdfast" in error for error in report.errors)
    assert world.state(gone) is State.LIVE
    assert not world.collect(accept=frozenset({BrakeReason.UNREADABLE})).ok
    assert world.store.get(record_key(newer)).body == changed
    assert world.state(gone) is State.TOMBSTONE


def test_a_hold_without_a_record_is_told_of_and_kept(world: World) -> None:
    """A hold whose record never came is counted, and left to its tenant."""
    world.blobs.make_hold("a", world.new_hold(world.put_data(b"never")))
    [hold] = world.keys("holds/")
    report = world.collect()
    assert counts(report, CollectedKind.HOLDS) == {"without_content": 1}
    assert world.keys("holds/") == [hold]


def test_what_is_not_ours_is_left(world: World) -> None:
    """Objects among holds and records that aren't ours by name are counted and stay."""
    keys = ["blobs/notes", "holds/a/notes"]
    for key in keys:
        world.store.put(key, b"")
    report = world.collect()
    assert world.keys() == keys
    assert report.count(CollectedKind.HOLDS, Fate.STRANGE) == 1
    assert report.count(CollectedKind.RECORDS, Fate.STRANGE) == 1


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("data/backup.tar", CollectedKind.DATA),
        ("data/notes/b", CollectedKind.DATA),
        ("tails/readme", CollectedKind.TAILS),
        ("probe/object", CollectedKind.TAILS),
        ("snapshots/notes", CollectedKind.SNAPSHOTS),
        ("snapshots/a/notes/1", CollectedKind.SNAPSHOTS),
    ],
)
def test_what_is_not_ours_stays_however_old(world: World, key: str, kind: CollectedKind) -> None:
    """An old object below our prefixes, in a bucket that others use too, is left by every run."""
    world.store.put(key, b"theirs")
    world.store.create_upload("data/theirs.tar")
    for _ in range(4):
        world.grow_old()
        report = world.collect()
        assert report.ok
        assert report.count(kind, Fate.STRANGE) == 1
        assert report.count(CollectedKind.UPLOADS, Fate.STRANGE) == 1
        world.memory.time += 2 * 86400
    assert world.store.get(key).body == b"theirs"
    assert [one.key for one in world.store.list_uploads("data/")] == ["data/theirs.tar"]


def test_a_dry_run_writes_nothing(world: World) -> None:
    """A dry run says what a run would do, and changes nothing."""
    digests = [world.commit("a", body) for body in (b"1", b"2", b"3")]
    for digest in digests[:2]:
        world.blobs.drop("a", digest)
    world.turn(digests[1], State.CONDEMNED)
    world.put_data(b"orphan")
    world.grow_old()
    before = world.tell()
    world.store.calls.clear()
    rehearsed = world.collect(dry=True)
    assert world.tell() == before
    assert {name for name, _ in world.store.calls} <= {"list", "get", "list_uploads"}
    done = world.collect()
    assert rehearsed.as_json()["counts"]["records"] == done.as_json()["counts"]["records"]
    # In earnest the new tombstones are young; in the rehearsal their records still stand.
    assert (
        rehearsed.count(CollectedKind.DATA, Fate.DOOMED)
        == done.count(CollectedKind.DATA, Fate.DOOMED)
        == 1
    )
    world.grow_old()
    before = world.tell()
    rehearsed = world.collect(dry=True)
    assert world.tell() == before
    assert rehearsed.count(CollectedKind.DATA, Fate.DELETED) == 1
    assert world.collect().count(CollectedKind.DATA, Fate.DELETED) == 1


def test_a_blob_is_buried_by_another_run(world: World) -> None:
    """A record is buried an hour after it was condemned, at the earliest: by another run."""
    world.ages = APART
    digest = world.commit("a", b"gone")
    world.blobs.drop("a", digest)
    world.grow_old()
    assert counts(world.collect(), CollectedKind.RECORDS) == {"condemned": 1}
    assert counts(world.collect(), CollectedKind.RECORDS) == {"young": 1}
    world.grow_old(RECORDS, seconds=APART.condemned)
    assert counts(world.collect(), CollectedKind.RECORDS) == {"buried": 1}
    assert world.state(digest) is State.TOMBSTONE


@pytest.mark.parametrize("threads", [1, 8])
def test_many(world: World, threads: int) -> None:
    """Many records, more than are kept in memory or asked for at once, are told apart."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- only here

    digests = [world.commit("a", b"%d" % n) for n in range(60)]
    gone: list[Digest] = digests[::3]
    for digest in gone:
        world.blobs.drop("a", digest)
    world.grow_old(RECORDS)
    with ThreadPoolExecutor(threads) as pool:
        report = world.collect(threads=threads, limit=7, pool=pool if threads > 1 else None)
    assert {d for d in digests if world.state(d) is State.TOMBSTONE} == set(gone)
    assert counts(report, CollectedKind.RECORDS) == {"held": 40, "condemned": 20, "buried": 20}
