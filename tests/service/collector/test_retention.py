"""What nobody holds is retained for a time, and within some bytes, and then it goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from holdfast.digests import Digest
from holdfast.errors import OutcomeUnknown, ResourceExhausted
from holdfast.service.collector.brakes import BrakeLimits, BrakeReason
from holdfast.service.collector.report import CollectedKind
from holdfast.service.collector.retention import Unheld
from holdfast.service.collector.survey import Candidate
from holdfast.storage.keys import DATA, HOLDS, RECORDS, RETAINED
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import State
from holdfast.storage.reserve import Reserve, ReservedStore
from holdfast.storage.retained import DROPPED, Retained, RetentionMarker
from tests.service.collector.world import (
    AGES,
    APART,
    WEEK,
    Later,
    World,
    counts,
    marker,
    memory_world,
)
from tests.stores.memory import MemoryStore, SteppingStore
from tests.stores.quota import QuotaStore

DAY = 24 * 3600.0
RETAINING = replace(AGES, retain=WEEK)
"""One run condemns and buries what has been given up for a week."""


@pytest.fixture
def retaining(world: World) -> World:
    """A store in memory whose collectors retain what nobody holds for a week."""
    world.ages = RETAINING
    return world


def give_up(world: World, body: bytes, tenant: str = "a") -> Digest:
    """A blob that was committed, and deleted by its only tenant."""
    digest = world.commit(tenant, body)
    world.blobs.drop(tenant, digest)
    return digest


def later(world: World, seconds: float) -> None:
    """Lets time pass."""
    world.memory.time += seconds


def alive(world: World, digest: Digest) -> bool:
    """Whether a blob's record is live."""
    return world.state(digest) is State.LIVE


def records(world: World, **changes: object) -> dict[str, int]:
    """What a run reports of records."""
    report = world.collect(**changes)
    assert report.ok, report.errors
    return counts(report, CollectedKind.RECORDS)


def test_a_blob_is_retained_since_it_was_given_up(retaining: World) -> None:
    """A blob stays for a week since a run first found no hold, however old its record is."""
    digest = retaining.commit("a", b"layer")
    retaining.grow_old()
    retaining.blobs.drop("a", digest)
    assert records(retaining) == {"retained": 1}
    assert retaining.keys(RETAINED) == [marker(digest, 5)]
    later(retaining, WEEK - 1)
    assert records(retaining) == {"retained": 1}
    later(retaining, 1)
    assert records(retaining) == {"condemned": 1, "buried": 1}
    assert counts(retaining.collect(), CollectedKind.MARKERS) == {"outlived": 1}
    assert retaining.keys(RETAINED) == []


def test_a_hold_ends_it(retaining: World) -> None:
    """A run that finds a hold again removes the marker, and the week begins anew after that."""
    digest = give_up(retaining, b"layer")
    retaining.collect()
    later(retaining, WEEK - DAY)
    assert retaining.adopt("b", digest)
    assert counts(retaining.collect(), CollectedKind.MARKERS) == {"outlived": 1}
    assert retaining.keys(RETAINED) == []
    retaining.blobs.drop("b", digest)
    for _ in range(2):
        assert records(retaining) == {"retained": 1}
        later(retaining, WEEK - DAY)
    assert alive(retaining, digest)


def test_a_pardon_between_two_runs_counts(retaining: World) -> None:
    """A condemned blob that a node took over and gave up again is retained for another week."""
    retaining.ages = replace(APART, retain=WEEK)
    digest = give_up(retaining, b"layer")
    retaining.collect()
    later(retaining, WEEK)
    assert records(retaining) == {"condemned": 1}
    later(retaining, DAY)
    assert retaining.adopt("b", digest)
    retaining.blobs.drop("b", digest)
    assert records(retaining) == {"retained": 1}
    later(retaining, WEEK - 1)
    assert records(retaining) == {"retained": 1}
    later(retaining, 1)
    assert records(retaining) == {"condemned": 1}


def test_nothing_is_retained_for_no_time(world: World) -> None:
    """With a time of 0, what nobody holds goes at once, whatever markers there are."""
    world.ages = RETAINING
    old = give_up(world, b"marked")
    world.collect()
    world.ages = AGES
    new = give_up(world, b"not marked")
    later(world, -1)  # a marker of the future
    assert records(world) == {"condemned": 2, "buried": 2}
    assert not alive(world, old)
    assert not alive(world, new)
    world.collect()
    assert world.keys(RETAINED) == []


def test_on_every_backend(store: ObjectStore) -> None:
    """Folder, moto and MinIO: a marker's age is the store's own, and markers come and go."""
    now, week_on = World(store, RETAINING), World(Later(store, WEEK + 60), RETAINING)
    kept, gone = give_up(now, b"kept"), give_up(now, b"gone")
    assert records(now) == {"retained": 2}
    assert now.keys(RETAINED) == sorted([marker(kept, 4), marker(gone, 4)])
    assert records(now) == {"retained": 2}
    assert now.adopt("b", kept)
    assert records(week_on) == {"held": 1, "condemned": 1, "buried": 1}
    assert now.keys(RETAINED) == [marker(gone, 4)]
    records(week_on)
    assert now.keys(RETAINED) == []
    assert now.read(kept) == b"kept"
    assert now.state(gone) is State.TOMBSTONE


def test_a_marker_of_another_size_does_not_count(retaining: World) -> None:
    """A marker that names another size than the record is removed, and the week begins anew."""
    digest = give_up(retaining, b"layer")
    retaining.store.put(marker(digest, 4), b"")
    later(retaining, WEEK)
    assert records(retaining) == {"retained": 1}
    assert retaining.keys(RETAINED) == [marker(digest, 5)]


def test_a_marker_without_a_blob_is_removed(retaining: World) -> None:
    """A marker that outlived its record, or whose record is only held and not there, is removed."""
    retaining.store.put(marker(Digest.of(b"never"), 5), b"")
    orphan = retaining.put_data(b"dead commit")
    retaining.blobs.make_hold("a", retaining.new_hold(orphan))
    retaining.store.put(marker(orphan.digest, 11), b"")
    assert counts(retaining.collect(), CollectedKind.MARKERS) == {"outlived": 2}
    assert retaining.keys(RETAINED) == []


def test_a_lost_marker_costs_time_only(retaining: World) -> None:
    """If a marker is lost, its blob is retained anew."""
    digest = give_up(retaining, b"layer")
    retaining.collect()
    later(retaining, WEEK - 1)
    retaining.store.delete(marker(digest, 5))
    assert records(retaining) == {"retained": 1}
    later(retaining, WEEK - 1)
    assert records(retaining) == {"retained": 1}
    later(retaining, 1)
    assert records(retaining) == {"condemned": 1, "buried": 1}


@pytest.mark.parametrize("name", ["notes", "sha256/notes/5", f"sha256/{'0' * 64}/05"])
def test_what_is_not_ours_stays(retaining: World, name: str) -> None:
    """An object among the markers that isn't one by its name is counted, and left."""
    retaining.store.put(RETAINED + name, b"")
    assert counts(retaining.collect(), CollectedKind.MARKERS) == {"strange": 1}
    assert retaining.keys(RETAINED) == [RETAINED + name]
    assert list(Retained(retaining.store).all()) == []


# -- what is dropped


def test_what_is_dropped_goes_at_once(retaining: World) -> None:
    """A blob that was dropped is condemned by the next run, and no other is."""
    gone, kept = give_up(retaining, b"gone"), give_up(retaining, b"kept")
    retaining.collect()
    retained = Retained(retaining.store)
    for found in retained.find(gone):
        retained.drop(found)
    assert records(retaining) == {"retained": 1, "condemned": 1, "buried": 1}
    retaining.collect()
    assert retaining.keys(RETAINED) == [marker(kept, 4)]


def test_what_is_held_is_not_dropped(retaining: World) -> None:
    """If somebody holds a dropped blob when the next run looks, the request is removed."""
    digest = give_up(retaining, b"layer")
    retaining.collect()
    retaining.store.put(marker(digest, 5, DROPPED), b"")
    assert retaining.adopt("b", digest)
    assert records(retaining) == {"held": 1}
    assert retaining.keys(RETAINED) == []


def test_a_request_to_drop_is_good_once(retaining: World) -> None:
    """If a record was written after the request to drop its blob, the request is void."""
    digest = give_up(retaining, b"layer")
    retaining.store.put(marker(digest, 5, DROPPED), b"")
    later(retaining, 60)
    retaining.turn(digest, State.LIVE)
    assert records(retaining) == {"retained": 1}
    assert retaining.keys(RETAINED) == [marker(digest, 5)]


# -- bytes


def given_up_in_turn(world: World, count: int) -> list[Digest]:
    """Blobs of 10 bytes that were given up one an hour."""
    found = []
    for number in range(count):
        found.append(give_up(world, b"blob %05d" % number))
        world.collect()
        later(world, 3600)
    return found


@pytest.mark.parametrize(("allowed", "kept"), [(49, 4), (50, 5), (10, 1), (59, 5), (60, 6)])
def test_what_was_given_up_longest_ago_goes_first(
    retaining: World, allowed: int, kept: int
) -> None:
    """Beyond its bytes the retained goes in the order in which it was given up, and no further."""
    digests = given_up_in_turn(retaining, 6)
    told = records(retaining, retain_bytes=allowed)
    assert told.get("evicted", 0) == told.get("condemned", 0) == 6 - kept
    assert told["retained"] == kept
    assert [alive(retaining, digest) for digest in digests] == [False] * (6 - kept) + [True] * kept


def test_a_blob_that_does_not_fit_takes_all_before_it_along(retaining: World) -> None:
    """No smaller blob stays that was given up before one that is evicted."""
    first = give_up(retaining, b"x")
    retaining.collect()
    later(retaining, 3600)
    large = give_up(retaining, b"x" * 80)
    retaining.collect()
    later(retaining, 3600)
    last = give_up(retaining, b"x" * 30)
    told = records(retaining, retain_bytes=100)
    assert told == {"retained": 1, "evicted": 2, "condemned": 2, "buried": 2}
    assert [alive(retaining, d) for d in (first, large, last)] == [False, False, True]


def test_a_blob_larger_than_all_is_not_retained(retaining: World) -> None:
    """A blob of more than the bytes that may be retained goes, and displaces nothing."""
    small, large = give_up(retaining, b"small"), give_up(retaining, b"x" * 101)
    assert records(retaining, retain_bytes=100) == {"retained": 1, "condemned": 1, "buried": 1}
    assert alive(retaining, small)
    assert not alive(retaining, large)
    assert retaining.keys(RETAINED) == [marker(small, 5)]


def test_held_blobs_use_none_of_the_bytes(retaining: World) -> None:
    """However much is held, the bytes are those of what nobody holds."""
    retaining.commit("a", b"x" * 1000)
    digest = give_up(retaining, b"small")
    assert records(retaining, retain_bytes=5) == {"held": 1, "retained": 1}
    assert alive(retaining, digest)


def test_many_are_sorted_on_disk(retaining: World) -> None:
    """Blobs are evicted in order if they are far more than are kept in memory."""
    digests = given_up_in_turn(retaining, 40)
    told = records(retaining, retain_bytes=150, limit=3)
    assert told["evicted"] == 25
    assert [alive(retaining, digest) for digest in digests] == [False] * 25 + [True] * 15


def test_the_latest_sort_first() -> None:
    """Lines sort by time to the millisecond, then by key, and say what they were made of."""
    made = [
        Unheld(Candidate(f"blobs/{name}", "etag", 5), since, new)
        for since, name, new in [(2e9, "a", True), (2e9, "b", False), (2e9 - 0.001, "a", False)]
    ]
    lines = [unheld.encode() for unheld in made]
    assert sorted(lines) == lines
    assert list(map(Unheld.decode, lines)) == made


# -- lies, brakes, clocks, and others at the same time


class Forgetful(MemoryStore):
    """A store whose listings of a prefix may come back empty."""

    below = ""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says, but for that prefix."""
        return iter(()) if prefix == self.below else super().list(prefix, start_after)


def forgetful() -> tuple[World, Forgetful]:
    """A store whose collectors retain, and two keys to every deletion."""
    store = Forgetful()
    return World(SteppingStore(store), replace(APART, retain=WEEK)), store


def test_a_listing_without_markers_resets_nothing() -> None:
    """If a listing omits the markers, those that are there keep their time."""
    world, store = forgetful()
    give_up(world, b"layer")
    world.collect()
    later(world, WEEK - 1)
    store.below = RETAINED
    report = world.collect()
    assert counts(report, CollectedKind.RECORDS) == {"retained": 1}
    assert counts(report, CollectedKind.MARKERS) == {"raced": 1}
    store.below = ""
    later(world, 1)
    assert records(world) == {"condemned": 1}


def test_a_listing_without_holds_marks_and_the_next_unmarks() -> None:
    """One empty listing of holds condemns nothing: the held gets a marker, and loses it again."""
    world, store = forgetful()
    digest = world.commit("a", b"held")
    for _ in range(2):
        store.below = HOLDS
        assert records(world) == {"retained": 1}
        store.below = ""
        assert records(world) == {"held": 1}
        assert world.keys(RETAINED) == []
        later(world, WEEK)
    assert alive(world, digest)


def test_a_run_that_was_stopped_makes_no_markers(retaining: World) -> None:
    """A brake that stops a run stops its markers too, those to make and those to remove."""
    limits = BrakeLimits(few=1)
    retaining.store.put(marker(Digest.of(b"never"), 5), b"")
    give_up(retaining, b"small")
    for number in range(3):
        give_up(retaining, b"x" * (100 + number))
    before = retaining.keys(RETAINED)
    report = retaining.collect(retain_bytes=50, limits=limits)
    assert [tripped.brake for tripped in report.brakes] == [BrakeReason.CONDEMN]
    assert retaining.keys(RETAINED) == before
    accepted = frozenset({BrakeReason.CONDEMN})
    assert retaining.collect(retain_bytes=50, limits=limits, accept=accepted).ok
    assert len(retaining.keys(RETAINED)) == 1


def test_a_rehearsal_makes_no_markers(retaining: World) -> None:
    """A dry run reports what would be retained and evicted, and writes nothing."""
    given_up_in_turn(retaining, 3)
    give_up(retaining, b"new")
    retaining.store.put(marker(Digest.of(b"never"), 5), b"")
    before = retaining.keys(RETAINED)
    rehearsed = retaining.collect(dry=True, retain_bytes=13)
    assert retaining.keys(RETAINED) == before
    done = retaining.collect(retain_bytes=13)
    for kind in (CollectedKind.RECORDS, CollectedKind.MARKERS):
        assert counts(rehearsed, kind) == counts(done, kind)


@pytest.mark.parametrize("days", [-30, 30])
def test_a_clock_that_was_wrong_once(days: float) -> None:
    """A store whose clock is a month off for one run loses nothing that is asked for meanwhile."""
    world = memory_world(ages=replace(APART, retain=WEEK))
    digests = [give_up(world, b"layer %d" % number) for number in range(3)]
    world.collect()
    later(world, days * DAY)
    world.collect()
    later(world, -days * DAY)
    for _ in range(24):
        later(world, 3600)
        assert world.collect().ok
    for digest in digests:
        assert world.adopt("b", digest)


def test_a_marker_of_the_future_is_kept(retaining: World) -> None:
    """A marker that was made while the clock was ahead counts from that time on."""
    give_up(retaining, b"layer")
    later(retaining, DAY)
    retaining.collect()
    later(retaining, -DAY)
    assert records(retaining) == {"retained": 1}
    later(retaining, WEEK)
    assert records(retaining) == {"retained": 1}
    later(retaining, DAY)
    assert records(retaining) == {"condemned": 1, "buried": 1}


def test_a_lost_reply_is_no_error(retaining: World) -> None:
    """If the store doesn't confirm a marker, the next run looks whether it is there."""
    give_up(retaining, b"layer")

    def lose(operation: str, key: str) -> None:
        if operation == "put" and key.startswith(RETAINED):
            raise OutcomeUnknown("the reply was lost")

    retaining.store.after = lose
    report = retaining.collect()
    assert report.ok, report.errors
    assert counts(report, CollectedKind.MARKERS) == {"raced": 1}
    assert records(retaining) == {"retained": 1}


def test_a_full_store_is_emptied_all_the_same(retaining: World) -> None:
    """If no marker can be made, the run says so, frees what it can, and the blob stays live."""
    digest = give_up(retaining, b"layer")
    lone = retaining.put_data(b"lone").data_key
    retaining.grow_old()
    retaining.collect()
    retaining.store.delete(marker(digest, 5))

    def full(operation: str, key: str) -> None:
        if operation == "put":
            raise ResourceExhausted(f"{key}: the disk is full")

    retaining.store.before = full
    report = retaining.collect()
    assert any(error.startswith("retention: ") for error in report.errors)
    assert lone not in retaining.keys(DATA)
    assert alive(retaining, digest)


def test_a_marker_uses_no_reserve() -> None:
    """The room that is kept for freeing some isn't used to retain; a request to drop may use it."""
    quota = QuotaStore(MemoryStore(), 10**6)
    reserve = Reserve(quota, 4096, bytes)
    reserve.keep()
    quota.fill()
    store = ReservedStore(quota, reserve, tending=True)
    kept = RetentionMarker(Digest.of(b"layer"), 5, 0.0)
    with pytest.raises(ResourceExhausted):
        store.put(kept.key, b"")
    assert not reserve.short
    Retained(store).drop(kept)
    assert reserve.short
    assert [found.dropped for found in Retained(store).find(kept.digest)] == [True]


# -- what is reported


def test_the_report(retaining: World) -> None:
    """A report has what is retained, its bytes, since when, and what the next run may free."""
    assert retaining.collect().as_json()["retained"] == {"count": 0, "bytes": 0, "since": None}
    given_up_in_turn(retaining, 3)
    retaining.put_data(b"garbage")
    retaining.grow_old(DATA)
    told = retaining.collect().as_json()
    since = retaining.memory.time - 3 * 3600
    assert told["retained"] == {"count": 3, "bytes": 30, "since": since}
    assert told["next_frees_bytes"] == len(b"garbage")
    assert retaining.collect().freed == len(b"garbage")


def test_markers_are_listed_from_any_digest_on(retaining: World) -> None:
    """A list of what is retained can be read in pieces, each from where the last one ended."""
    digests = sorted(give_up(retaining, b"%d" % number) for number in range(5))
    retaining.collect()
    retained = Retained(retaining.store)
    assert [found.digest for found in retained.all()] == digests
    for place, digest in enumerate(digests):
        assert [found.digest for found in retained.all(digest)] == digests[place + 1 :]


def test_what_is_retained_is_not_read_again(retaining: World) -> None:
    """A retained record that two runs have read costs no request of its own any more."""
    given_up_in_turn(retaining, 3)
    retaining.collect()
    retaining.store.calls.clear()
    retaining.collect()
    assert "get" not in retaining.store.operations(RECORDS)
    assert set(retaining.store.operations(RETAINED)) == {"list"}
