"""A pass of the scrub: where it goes on, how fast it reads, whom it tells."""

from __future__ import annotations

import math
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.service.scrub.cursor import CURSOR, FORMAT, Cursor, load, save
from holdfast.service.scrub.pace import ScrubRate
from holdfast.service.scrub.passes import Pass
from holdfast.service.scrub.report import DamageKind
from holdfast.storage.keys import HOLDS
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, State
from tests.service.conftest import Fill
from tests.service.scrubbing import (
    Clock,
    commit,
    delete_data,
    edit_data,
    lone_hold,
    means,
    ordered,
    record_of,
    scrub,
)
from tests.storage.edited import edited, newer
from tests.stores.counting import CountingStore


def stopping_after(store: ObjectStore, count: int) -> tuple[Any, CountingStore]:
    """Means that stop the scrub when so many records were read."""
    counting = CountingStore(store)
    with_stop = means(counting)
    left = [count]

    def stop(name: str, key: str) -> None:
        if name == "head" and key.startswith("data/"):
            left[0] -= 1
            if not left[0]:
                with_stop.stop.set()

    counting.before = stop
    return with_stop, counting


def test_resumes(folder_store: ObjectStore, fill: Fill) -> None:
    """A scrub that was stopped goes on behind the last record that it was done with."""
    digests = sorted(commit(folder_store, fill(100_000)) for _ in range(8))
    for digest in digests:
        delete_data(folder_store, digest)
    with_stop, _ = stopping_after(folder_store, 9)
    first = Pass(ordered(workers=1), with_stop).run()
    assert first.stopped
    cursor = load(folder_store)
    assert cursor is not None
    assert cursor.after in digests[2:-1]
    second = scrub(folder_store)
    assert second.resumed_after == str(cursor.after)
    assert second.started_at == first.started_at
    assert second.counts.records >= len(digests)
    rest = digests[digests.index(cursor.after) + 1 :]
    assert {finding.digest for finding in second.findings} == set(map(str, rest))
    assert not second.stopped
    assert load(folder_store) is None
    assert list(folder_store.list("scrub/")) == []


def test_findings_of_earlier_runs_count(folder_store: ObjectStore, fill: Fill) -> None:
    """A pass that goes on isn't well if its earlier part wasn't."""
    commit(folder_store, fill(100_000))
    save(folder_store, Cursor(1.0, counts={"records": 7}, found={"block_sum": 2}))
    report = scrub(folder_store)
    assert not report.well
    assert report.counts.records == 8
    assert report.untold == 2


def test_stopped_in_the_holds(folder_store: ObjectStore) -> None:
    """A scrub that was stopped among the holds begins with them again, and counts them once."""
    for n in range(5):
        lone_hold(folder_store, b"absent%d" % n, "a")
    counting = CountingStore(folder_store)
    with_stop = means(counting)
    counting.after = lambda name, key: (
        with_stop.stop.set() if name == "head" and key.startswith(HOLDS) else None
    )
    assert Pass(ordered(hold_age=-60, workers=1), with_stop).run().stopped
    second = scrub(folder_store, hold_age=-60)
    assert second.counts.holds == 5
    assert second.found == {DamageKind.HOLD_WITHOUT_CONTENT: 5}


def test_a_crash_goes_on_from_the_cursor(folder_store: ObjectStore, fill: Fill) -> None:
    """The cursor is saved while a pass runs, so that a crash costs little."""
    digests = sorted(commit(folder_store, fill(100_000)) for _ in range(6))
    clock, counting = Clock(), CountingStore(folder_store)

    def die(name: str, key: str) -> None:
        clock.time += 20
        if name == "head" and key == record_of(folder_store, digests[4]).data_key:
            raise SystemError

    counting.before = die
    with pytest.raises(SystemError):
        scrub(counting, clock=clock, workers=1)
    cursor = load(folder_store)
    assert cursor is not None
    assert cursor.after in digests[1:4]


def test_store_away(folder_store: ObjectStore, fill: Fill) -> None:
    """A store that fails ends the run with its error, and the next run goes on."""
    digests = sorted(commit(folder_store, fill(100_000)) for _ in range(4))
    counting = CountingStore(folder_store)

    def fail(name: str, key: str) -> None:
        if name == "head" and key == record_of(folder_store, digests[3]).data_key:
            raise Unavailable("away")

    counting.before = fail
    with pytest.raises(Unavailable):
        scrub(counting, workers=1)
    cursor = load(folder_store)
    assert cursor is not None
    assert cursor.after is not None
    assert scrub(folder_store).well


def test_from(folder_store: ObjectStore, fill: Fill) -> None:
    """With a digest to begin at, that one and all after it are read, whatever the cursor says."""
    digests = sorted(commit(folder_store, fill(1000)) for _ in range(6))
    save(folder_store, Cursor(1.0, after=digests[5]))
    report = scrub(folder_store, begin=digests[2])
    assert report.counts.records == 4
    assert report.started_at != 1.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        newer(FORMAT),
        Cursor(1.0).encode().replace(b"1.0", b"2.0"),
        edited(Cursor(1.0).encode(), after="x"),
        edited(Cursor(1.0).encode(), started_at=math.nan),
        edited(Cursor(1.0).encode(), found={"x": -1}),
        edited(Cursor(1.0).encode(), phase="x"),
    ],
)
def test_damaged_cursor(folder_store: ObjectStore, body: bytes) -> None:
    """A damaged cursor makes the scrub begin at the beginning."""
    commit(folder_store, b"hello")
    folder_store.put(CURSOR, body)
    assert scrub(folder_store).counts.records == 1


def test_newer_cursor(folder_store: ObjectStore) -> None:
    """Where a newer version stopped isn't known here: the pass begins anew, and ends."""
    commit(folder_store, b"hello")
    folder_store.put(CURSOR, newer())
    assert scrub(folder_store).counts.records == 1
    assert list(folder_store.list("scrub/")) == []


def test_a_shallow_cursor(folder_store: ObjectStore) -> None:
    """A scrub that reads doesn't go on where one that didn't read has stopped."""
    digest = commit(folder_store, b"hello")
    save(folder_store, Cursor(1.0, after=digest, shallow=True))
    assert scrub(folder_store).counts.records == 1


def test_two_at_once(folder_store: ObjectStore, fill: Fill) -> None:
    """A scrub that another one overtakes in the middle marks the same, once, and nothing else."""
    bodies = [fill(100_000 + n) for n in range(6)]
    digests = [commit(folder_store, body) for body in bodies]
    for digest in digests[:3]:
        edit_data(folder_store, digest)
    counting = CountingStore(folder_store)
    other: list[Any] = []

    def overtake(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/") and not other:
            other.append(None)
            other[0] = scrub(folder_store)

    counting.before = overtake
    one = scrub(counting, workers=1)
    assert {f.digest for f in one.findings} == {str(digest) for digest in digests[:3]}
    assert {f.digest for f in other[0].findings} == {str(digest) for digest in digests[:3]}
    states = [record_of(folder_store, digest).state for digest in digests]
    assert states == [State.CORRUPT] * 3 + [State.LIVE] * 3


def test_pace() -> None:
    """So many bytes per second are let through, the first at once, and idle time isn't saved up."""
    clock = Clock()
    pace = ScrubRate(100, clock, clock.wait)
    for _ in range(3):
        pace.take(50)
    assert clock.waits == [0.5, 0.5]
    clock.time += 1000
    for _ in range(2):
        pace.take(50)
    assert clock.waits == [0.5, 0.5, 0.5]
    ScrubRate(0, clock, clock.wait).take(10**12)
    assert len(clock.waits) == 3


def test_rate(folder_store: ObjectStore, fill: Fill) -> None:
    """The scrub reads at the rate that it was given, and reports it."""
    commit(folder_store, fill(4 * BLOCK_SIZE))
    clock = Clock()
    report = scrub(folder_store, clock=clock, rate=BLOCK_SIZE, workers=1)
    assert clock.waits == [1.0, 1.0, 1.0]
    assert report.seconds == 3.0
    assert report.rate == 4 * BLOCK_SIZE / 3


def test_caches_are_told_after_the_marks(folder_store: ObjectStore, fill: Fill) -> None:
    """What frontends remember is made to be forgotten once all marks stand, and only then."""
    digests = [commit(folder_store, fill(100_000)) for _ in range(3)]
    assert scrub(folder_store, forget=pytest.fail).well
    for digest in digests:
        delete_data(folder_store, digest)
    states: list[set[State]] = []
    report = scrub(
        folder_store,
        forget=lambda: states.append({record_of(folder_store, digest).state for digest in digests}),
    )
    assert states == [{State.CORRUPT}]
    assert not report.caches_late


def test_caches_are_told_in_time(folder_store: ObjectStore, fill: Fill) -> None:
    """While a large blob is read, caches are told of earlier marks within half a minute."""
    small = commit(folder_store, fill(100_000))
    delete_data(folder_store, small)
    for n in range(100):  # until one sorts after the small one
        large = fill(12 * BLOCK_SIZE + n)
        if Digest.of(large) > small:
            commit(folder_store, large)
            break
    clock, told = Clock(), []
    scrub(
        folder_store,
        forget=lambda: told.append(clock.time),
        clock=clock,
        rate=BLOCK_SIZE / 10,
        workers=1,
    )
    assert len(told) == 1
    assert told[0] - 1000 <= 40
    assert clock.time - 1000 >= 100


def test_redis_away(folder_store: ObjectStore, fill: Fill) -> None:
    """With Redis away a scrub quarantines all the same and says that caches are late."""
    digest = commit(folder_store, fill(100_000))
    delete_data(folder_store, digest)

    def away() -> None:
        raise Unavailable("Redis is away")

    report = scrub(folder_store, forget=away)
    assert report.caches_late
    assert record_of(folder_store, digest).state is State.CORRUPT
    told: list[int] = []
    assert not scrub(folder_store, forget=lambda: told.append(1)).caches_late
    assert told == [1]


def test_caches_after_a_stop(folder_store: ObjectStore, fill: Fill) -> None:
    """A run that stops with caches untold leaves that to the next one."""
    save(folder_store, Cursor(1.0, caches_late=True))
    told: list[int] = []
    commit(folder_store, fill(1000))
    assert scrub(folder_store, forget=lambda: told.append(1)).well
    assert told == [1]
