"""The scrub finds holds that name nothing, and holds that can't be read."""

from __future__ import annotations

import pytest

from holdfast.service.scrub.report import DamageKind, ScrubAction
from holdfast.storage.keys import DELETING, hold_prefix
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records, State, new_nonce
from holdfast.storage.tenants import holding_tenants
from tests.service.scrubbing import (
    commit,
    found,
    lone_hold,
    scrub,
)
from tests.storage.edited import newer
from tests.stores.counting import CountingStore


def test_holds_without_content(store: ObjectStore) -> None:
    """A hold on what has no record, or a tombstone, is reported once it is old enough."""
    commit(store, b"sound", "a")
    absent, key = lone_hold(store, b"absent", "b")
    buried = commit(store, b"buried", "c")
    records = Records(store)
    seen = records.read(buried)
    assert seen is not None
    records.write(seen.record.turned(State.TOMBSTONE, new_nonce()), seen)
    assert scrub(store).well
    report = scrub(store, hold_age=-60)
    assert found(report) == {
        str(absent): DamageKind.HOLD_WITHOUT_CONTENT,
        str(buried): DamageKind.HOLD_WITHOUT_CONTENT,
    }
    assert key in {finding.key for finding in report.findings}
    assert {finding.action for finding in report.findings} == {ScrubAction.REPORTED}


def test_holds_under_deletion(folder_store: ObjectStore) -> None:
    """A hold with a mark beside it is being given up, and not reported."""
    _, key = lone_hold(folder_store, b"absent", "a")
    folder_store.put(key + DELETING, b"")
    assert scrub(folder_store, hold_age=-60).well


def test_damaged_holds(folder_store: ObjectStore) -> None:
    """Holds that can't be read, or are of a newer version, are reported."""
    damaged, other = commit(folder_store, b"one"), commit(folder_store, b"two")
    for digest, body in ((damaged, b"{"), (other, newer())):
        [entry] = folder_store.list(hold_prefix("a", digest))
        folder_store.put(entry.key, body)
    assert found(scrub(folder_store)) == {
        str(damaged): DamageKind.HOLD_DAMAGED,
        str(other): DamageKind.HOLD_NEWER,
    }


def test_many_holds_on_one_digest(folder_store: ObjectStore) -> None:
    """A digest that many hold in vain is one finding, and its record is read once for all."""
    for n in range(20):
        lone_hold(folder_store, b"absent", f"t{n}")
    counting = CountingStore(folder_store)
    assert len(scrub(counting, hold_age=-60).findings) == 1
    assert counting.operations("blobs/").count("get") == 1


@pytest.mark.parametrize("extra", [[], ["holds/stray", "holds/a1"]])
def test_tenants_that_hold(store: ObjectStore, extra: list[str]) -> None:
    """The tenants that have holds are all found, whatever sorts between their names."""
    names = ["a.b", "a", "a-b", "a0", "ab", "a_b", "b"]
    for name in names:
        for body in (b"1", b"2", b"3"):
            lone_hold(store, body, name)
    for key in extra:
        store.put(key, b"")
    assert sorted(holding_tenants(store)) == sorted(names)
