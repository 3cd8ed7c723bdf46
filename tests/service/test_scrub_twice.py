"""The scrub looks twice before it marks anything, and never marks what has changed."""

from __future__ import annotations

import pytest

from holdfast.service.scrub.report import DamageKind, ScrubAction
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, Records, Seen, State, new_nonce
from tests.service.conftest import Fill
from tests.service.scrubbing import (
    commit,
    delete_data,
    found,
    record_of,
    scrub,
)
from tests.stores.counting import CountingStore
from tests.stores.tampering import Tampering, once


@pytest.mark.parametrize("prefix", ["data/", "blobs/"])
def test_flipped_on_the_way(folder_store: ObjectStore, fill: Fill, prefix: str) -> None:
    """A bit that flips on the way to the scrub is no damage: it looks twice, and counts it."""
    digest = commit(folder_store, fill(2 * BLOCK_SIZE))
    tampering = Tampering(folder_store)
    tampering.alter = once(prefix)
    report = scrub(tampering)
    assert report.well
    assert report.counts.misreads == 1
    assert record_of(folder_store, digest).state is State.LIVE


def test_data_seen_late(folder_store: ObjectStore, fill: Fill) -> None:
    """Data that is missing at the first look and there at the second is sound."""
    body = fill(100_000)
    digest = commit(folder_store, body)
    key = record_of(folder_store, digest).data_key
    folder_store.delete(key)
    looks: list[str] = []

    def appear(_: str) -> None:
        looks.append("")
        if len(looks) == 2:
            folder_store.put(key, body)

    tampering = Tampering(folder_store)
    tampering.before_head = appear
    report = scrub(tampering)
    assert report.well
    assert report.counts.misreads == 1


def test_healed_meanwhile(folder_store: ObjectStore, fill: Fill) -> None:
    """A record that names other data by the second look is begun anew with it, not marked."""
    body = fill(100_000)
    digest = commit(folder_store, body)
    old = record_of(folder_store, digest).data_key
    folder_store.delete(old)

    def heal(key: str) -> None:
        if key == old:
            tampering.before_head = lambda _: None
            commit(folder_store, body, "b")

    tampering = Tampering(folder_store)
    tampering.before_head = heal
    assert scrub(tampering).well
    record = record_of(folder_store, digest)
    assert record.state is State.LIVE
    assert record.data_key != old


@pytest.mark.parametrize("state", [State.CONDEMNED, State.TOMBSTONE, State.LIVE])
def test_never_over_a_newer_record(folder_store: ObjectStore, fill: Fill, state: State) -> None:
    """A record that is written between the last look and the mark isn't written over."""
    digest = commit(folder_store, fill(100_000))
    delete_data(folder_store, digest)
    records, counting = Records(folder_store), CountingStore(folder_store)
    newer: list[Seen] = []

    def interfere(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/") and not newer:
            seen = records.read(digest)
            assert seen is not None
            newer.append(records.write(seen.record.turned(state, new_nonce()), seen))

    counting.before = interfere
    report = scrub(counting)
    record = record_of(folder_store, digest)
    if state is State.TOMBSTONE:
        assert report.well
        assert record == newer[0].record
    else:  # it was looked at again, and its data is gone all the same
        assert found(report) == {str(digest): DamageKind.DATA_MISSING}
        assert record.state is State.CORRUPT


def test_a_record_that_never_settles(folder_store: ObjectStore, fill: Fill) -> None:
    """A damaged record that keeps changing under the scrub is reported and left."""
    digest = commit(folder_store, fill(100_000))
    delete_data(folder_store, digest)
    records, counting = Records(folder_store), CountingStore(folder_store)

    def interfere(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/"):
            seen = records.read(digest)
            assert seen is not None
            records.write(seen.record.turned(State.LIVE, new_nonce()), seen)

    counting.before = interfere
    [finding] = scrub(counting).findings
    assert finding.action is ScrubAction.LEFT
    assert record_of(folder_store, digest).state is State.LIVE
