"""A scrub that finds damage everywhere stops marking, and waits for somebody's word."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.service.commands.scrub import WORKERS
from holdfast.service.scrub.brake import AMONG, MOST, MarkBrake, ScrubBraked
from holdfast.service.scrub.cursor import load
from holdfast.service.scrub.report import ScrubAction, ScrubReport
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import State
from tests.service.conftest import Fill
from tests.service.scrubbing import commit, delete_data, record_of, scrub
from tests.stores.counting import CountingStore, nothing


@pytest.fixture
def away(folder_store: ObjectStore, fill: Fill) -> CountingStore:
    """A store with blobs, which says that none of their data is there."""
    for n in range(3 * MOST):
        commit(folder_store, fill(70_000 + n))
    counting = CountingStore(folder_store)

    def absent(operation: str, key: str) -> None:
        if operation in {"head", "get"} and key.startswith("data/"):
            raise NoSuchKey(key)

    counting.before = absent
    return counting


def marked(store: ObjectStore) -> int:
    """How many records are corrupt."""
    digests = [entry.key.split("/")[1:] for entry in store.list("blobs/")]
    states = [record_of(store, ":".join(parts)).state for parts in digests]
    return states.count(State.CORRUPT)


def run(store: Any, **orders: Any) -> ScrubReport:
    """One run, blob by blob."""
    return scrub(store, workers=1, **orders)


def test_an_hour_of_404s(folder_store: ObjectStore, away: CountingStore) -> None:
    """Where all seems to be gone, a few records are marked, and no more, however often it runs."""
    for _ in range(AMONG // 5):
        report = scrub(away, workers=WORKERS)
        assert "--accept" in report.brake
        assert report.stopped
        assert not report.well
    assert ScrubAction.HELD_BACK in {finding.action for finding in report.findings}
    assert marked(folder_store) == MOST


def test_wherever_it_begins(folder_store: ObjectStore, away: CountingStore) -> None:
    """Marks count in a pass that begins anew, too: at another digest, or shallow after deep."""
    first = Digest.parse(":".join(next(folder_store.list("blobs/")).key.split("/")[1:]))
    last = Digest.parse("sha256:" + 64 * "f")
    run(away)
    for orders in ({"begin": first}, {"begin": last}, {"shallow": True}, {}, {"begin": first}):
        run(away, **orders)
        assert marked(folder_store) == MOST


def test_after_an_accepted_pass(folder_store: ObjectStore, away: CountingStore) -> None:
    """Marks that somebody has accepted count no more, not even after a shallow pass."""
    run(away, shallow=True)
    run(away, shallow=True, accept=True)
    assert load(folder_store) is None


def test_when_it_is_over(folder_store: ObjectStore, away: CountingStore) -> None:
    """Run again when all is well, it goes on to its end; the next pass undoes the marks."""
    run(away)
    away.before = nothing
    cursor = load(folder_store)
    assert cursor is not None
    assert len(cursor.marks) == MOST
    report = run(away)
    assert not report.brake
    assert not report.stopped
    assert run(away).well
    assert marked(folder_store) == 0


def test_accept(folder_store: ObjectStore, away: CountingStore) -> None:
    """With somebody's word all is marked."""
    run(away)
    report = run(away, accept=True)
    assert not report.brake
    assert not report.stopped
    assert marked(folder_store) == 3 * MOST


def test_a_rehearsal_shows_it(folder_store: ObjectStore, away: CountingStore) -> None:
    """A dry run goes to the end, and says that a scrub would stop."""
    report = run(away, dry_run=True)
    assert report.brake
    assert not report.stopped
    assert len(report.findings) == 3 * MOST
    assert marked(folder_store) == 0


def test_little_damage(folder_store: ObjectStore, fill: Fill) -> None:
    """As much as disks lose is marked without a word."""
    digests = [commit(folder_store, fill(70_000 + n)) for n in range(MOST)]
    for digest in digests:
        delete_data(folder_store, digest)
    assert not run(folder_store).brake
    assert marked(folder_store) == MOST


def test_among_the_last() -> None:
    """Marks count among the records looked at last: 1 % of damage is no reason to stop."""
    looked_at = 0
    brake = MarkBrake(lambda: looked_at, [], off=False)
    for _ in range(5):
        for _ in range(MOST):
            looked_at += AMONG // MOST
            brake.check()
    assert len(brake.marks) == MOST
    looked_at += 1
    with pytest.raises(ScrubBraked):
        brake.check()
    looked_at += AMONG
    brake.check()
    assert brake.marks == [looked_at]
