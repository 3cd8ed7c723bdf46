"""A way back from corrupt: where the bytes are good after all, the record is live again."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from holdfast.digests import Digest
from holdfast.service.scrub.report import DamageKind, ScrubAction, ScrubReport
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, Records, Seen, State, new_nonce
from tests.service.conftest import Fill
from tests.service.scrubbing import (
    commit,
    delete_data,
    edit_data,
    edit_record,
    forge,
    record_of,
    scrub,
    truncate_data,
)
from tests.stores.counting import CountingStore, nothing


def mark(store: ObjectStore, digest: Digest, state: State = State.CORRUPT) -> Seen:
    """A record that somebody has marked."""
    records = Records(store)
    seen = records.read(digest)
    assert seen is not None
    return records.write(seen.record.turned(state, new_nonce()), seen)


def told(report: ScrubReport) -> list[tuple[DamageKind, ScrubAction, str]]:
    """What was found."""
    return [(f.kind, f.action, f.digest) for f in report.findings]


@pytest.mark.parametrize("size", [0, 500, 100_000, 2 * BLOCK_SIZE + 1])
def test_good_bytes(store: ObjectStore, fill: Fill, size: int) -> None:
    """A corrupt record whose bytes are all those of its digest is live again, and all is well."""
    digest = commit(store, fill(size))
    before = mark(store, digest).record
    report = scrub(store)
    assert told(report) == [(DamageKind.RESTORED, ScrubAction.RESTORED, str(digest))]
    assert report.well
    after = record_of(store, digest)
    assert after.state is State.LIVE
    assert after.same_bytes(before)
    assert after.nonce != before.nonce
    assert told(scrub(store)) == []


@pytest.mark.parametrize("damage", [edit_data, truncate_data, delete_data, forge])
def test_bad_bytes(
    folder_store: ObjectStore, fill: Fill, damage: Callable[[ObjectStore, Digest], None]
) -> None:
    """Where anything is wrong with the bytes, the record stays as it is, and is reported."""
    digest = commit(folder_store, fill(100_000))
    damage(folder_store, digest)
    marked = mark(folder_store, digest).record
    report = scrub(folder_store)
    assert told(report) == [(DamageKind.QUARANTINED, ScrubAction.CORRUPT_ALREADY, str(digest))]
    assert not report.well
    assert record_of(folder_store, digest) == marked


def test_bad_sums(folder_store: ObjectStore, fill: Fill) -> None:
    """A record whose sums aren't those of the bytes stays corrupt: nobody could read by it."""
    digest = commit(folder_store, fill(100_000))
    edit_record(folder_store, digest, crc32c=base64.b64encode(bytes(4)).decode())
    mark(folder_store, digest)
    assert not scrub(folder_store).well
    assert record_of(folder_store, digest).state is State.CORRUPT


def test_an_object_that_is_put_back(folder_store: ObjectStore, fill: Fill) -> None:
    """What a scrub has marked, and somebody has restored from a copy, the next scrub makes live."""
    body = fill(100_000)
    digest = commit(folder_store, body)
    delete_data(folder_store, digest)
    assert not scrub(folder_store).well
    folder_store.put(record_of(folder_store, digest).data_key, body)
    assert scrub(folder_store).well
    assert record_of(folder_store, digest).state is State.LIVE


def test_tombstones_are_dead(folder_store: ObjectStore, fill: Fill) -> None:
    """Bytes that were buried are never revived, however good they are."""
    digest = commit(folder_store, fill(100_000))
    buried = mark(folder_store, digest, State.TOMBSTONE).record
    assert told(scrub(folder_store)) == []
    assert record_of(folder_store, digest) == buried


@pytest.mark.parametrize("state", [State.TOMBSTONE, State.LIVE])
def test_never_over_a_newer_record(folder_store: ObjectStore, fill: Fill, state: State) -> None:
    """A record that is written while its bytes are read isn't written over."""
    digest = commit(folder_store, fill(100_000))
    mark(folder_store, digest)
    counting, newer = CountingStore(folder_store), []

    def interfere(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/"):
            counting.before = nothing
            newer.append(mark(folder_store, digest, state).record)

    counting.before = interfere
    report = scrub(counting)
    assert told(report) == []
    assert record_of(folder_store, digest) == newer[0]


def test_dry_run_and_shallow(folder_store: ObjectStore, fill: Fill) -> None:
    """A rehearsal says what would be restored; a shallow scrub reads and judges nothing."""
    digest = commit(folder_store, fill(100_000))
    marked = mark(folder_store, digest).record
    assert told(scrub(folder_store, dry_run=True)) == [
        (DamageKind.RESTORED, ScrubAction.WOULD_RESTORE, str(digest))
    ]
    assert told(scrub(folder_store, shallow=True)) == [
        (DamageKind.QUARANTINED, ScrubAction.CORRUPT_ALREADY, str(digest))
    ]
    assert record_of(folder_store, digest) == marked
