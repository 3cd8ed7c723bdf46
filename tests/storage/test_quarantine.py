"""A record is marked as corrupt only if it still names the bytes that were found damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import data_key, record_key, uuid7
from holdfast.storage.quarantine import ATTEMPTS, Mark, mark_damaged
from holdfast.storage.records import Record, Records, State, new_nonce
from tests.storage.blobs_fixture import DIGEST, live
from tests.stores.counting import CountingStore


@pytest.fixture
def counting(folder_store: FolderStore) -> CountingStore:
    """A folder that counts."""
    return CountingStore(folder_store)


def state_of(records: Records) -> State | None:
    seen = records.read(DIGEST)
    return seen.record.state if seen else None


def test_a_record_is_marked_once(counting: CountingStore) -> None:
    """The record of damaged bytes becomes corrupt; a second reader is told that it is already."""
    records, record = Records(counting), live()
    records.write(record, None)
    assert mark_damaged(records, record, new_nonce) is Mark.MARKED
    assert state_of(records) is State.CORRUPT
    assert mark_damaged(records, record, new_nonce) is Mark.MARKED_BEFORE


def other_bytes(record: Record) -> Record:
    return replace(record, data_key=data_key(uuid7()), nonce=new_nonce())


def buried(record: Record) -> Record:
    return record.turned(State.TOMBSTONE, new_nonce())


@pytest.mark.parametrize("change", [other_bytes, buried])
def test_a_record_that_says_something_else_stays(
    counting: CountingStore, change: Callable[[Record], Record]
) -> None:
    """A record that was healed, or buried, since the bytes were read isn't marked."""
    records, record = Records(counting), live()
    now = records.write(change(record), records.write(record, None)).record
    assert mark_damaged(records, record, new_nonce) is Mark.CHANGED
    seen = records.read(DIGEST)
    assert seen
    assert seen.record == now


def test_a_record_that_is_gone(counting: CountingStore) -> None:
    """Where there is no record, there is nothing to mark."""
    assert mark_damaged(Records(counting), live(), new_nonce) is Mark.CHANGED


@pytest.mark.parametrize("healed", [False, True], ids=["same bytes", "healed"])
def test_a_record_that_changes_meanwhile(counting: CountingStore, *, healed: bool) -> None:
    """If a write comes first, the mark is made, or not, by what that write says."""
    records, record = Records(counting), live()
    direct = Records(counting.inner)
    direct.write(record, None)

    def change(operation: str, key: str) -> None:
        if operation == "put" and key == record_key(DIGEST):
            counting.before = lambda *_: None
            seen = direct.read(DIGEST)
            assert seen
            turned = other_bytes(record) if healed else record.turned(State.LIVE, new_nonce())
            direct.write(turned, seen)

    counting.before = change
    marked = mark_damaged(records, record, new_nonce)
    assert marked is (Mark.CHANGED if healed else Mark.MARKED)
    assert state_of(records) is (State.LIVE if healed else State.CORRUPT)


def test_a_record_that_never_rests(counting: CountingStore) -> None:
    """After some attempts, each of which another write beat, the mark is given up."""
    records, record = Records(counting), live()
    direct, beaten = Records(counting.inner), list[str]()
    direct.write(record, None)

    def change(operation: str, key: str) -> None:
        if operation == "put" and key == record_key(DIGEST):
            beaten.append(key)
            seen = direct.read(DIGEST)
            direct.write(record.turned(State.LIVE, new_nonce()), seen)

    counting.before = change
    assert mark_damaged(records, record, new_nonce) is Mark.FAILED
    assert len(beaten) == ATTEMPTS
    assert state_of(records) is State.LIVE
