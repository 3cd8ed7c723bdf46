"""Records: their document, and compare-and-swap with lost races and lost replies."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import Aborted, DataLoss, Unavailable, UnsupportedFormat
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import record_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import (
    BLOCK_SIZE,
    LostRace,
    Record,
    Records,
    Seen,
    State,
    block_count,
    new_nonce,
)
from tests.storage.blobs_fixture import BODY, DIGEST, live
from tests.storage.edited import edited
from tests.stores.faults import Interrupted, LosingReplies

KEY = record_key(DIGEST)


def changed(**fields: Any) -> bytes:
    return edited(live(inline=True).encode(), **fields)


# -- the document


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("state", list(State))
def test_round_trip(state: State, inline: bool) -> None:
    """A record is read as it was written, in every state."""
    record = live(inline=inline).turned(state, new_nonce())
    assert Record.decode(KEY, record.encode()) == record


def test_tombstones_give_up_inline_bytes() -> None:
    """A tombstone has no bytes; a condemned record keeps them."""
    record = live(inline=True)
    assert record.turned(State.CONDEMNED, "n").inline == BODY
    assert record.turned(State.TOMBSTONE, "n").inline is None


@pytest.mark.parametrize(
    ("state", "readable"),
    [("live", True), ("condemned", True), ("tombstone", False), ("corrupt", False)],
)
def test_readable(state: str, readable: bool) -> None:
    """Live and condemned records have bytes to read; tombstones and corrupt ones don't."""
    assert live().turned(State(state), "n").readable is readable


def test_unknown_fields_are_kept() -> None:
    """What a newer version added survives a change by this one."""
    record = Record.decode(KEY, changed(added={"by": ["a", "newer", 1]}))
    again = json.loads(record.turned(State.CONDEMNED, new_nonce()).encode())
    assert again["added"] == {"by": ["a", "newer", 1]}
    assert again["state"] == "condemned"


def test_future_format() -> None:
    """A record of a newer format is refused with both versions, not taken for damaged."""
    with pytest.raises(UnsupportedFormat, match=r"version 3.*up to 2.*upgrade"):
        Record.decode(KEY, changed(format=3))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b"null",
        b"{}",
        changed(format="1"),
        changed(format=True),
        changed(format=0),
        changed(digest="sha256:" + "0" * 64),
        changed(digest="sha256:xyz"),
        changed(digest=None),
        changed(state="undead"),
        changed(size=-1),
        changed(size=True),
        changed(size="19"),
        changed(size=BLOCK_SIZE + 1),
        changed(size=18),
        changed(created_at=None),
        changed(created_at=True),
        changed(crc32c="not base64!"),
        changed(crc32c=base64.b64encode(b"12345678").decode()),
        changed(inline=7),
        changed(inline="ä"),
        changed(data="data/../../etc"),
        changed(data=""),
        changed(nonce=None),
        changed(inline=base64.b64encode(BODY[::-1]).decode()),
        edited(live().encode(), size=-1, crc32c=""),
        edited(live().encode(), crc32c=base64.b64encode(b"12345678").decode()),
        live().encode()[:-20],
    ],
)
def test_damaged_documents(folder_store: FolderStore, body: bytes) -> None:
    """Whatever isn't a record is DataLoss that names the key, and reads as a corrupt record."""
    with pytest.raises(DataLoss, match=KEY):
        Record.decode(KEY, body)
    folder_store.put(KEY, body)
    seen = Records(folder_store).read(DIGEST)
    assert seen is not None
    assert (seen.record.state, seen.record.readable) == (State.CORRUPT, False)


def test_block_count() -> None:
    """A blob has a block per 4 MiB begun."""
    assert [block_count(size) for size in (0, 1, BLOCK_SIZE, BLOCK_SIZE + 1)] == [0, 1, 1, 2]


# -- compare-and-swap


def test_life_of_a_record(object_store: ObjectStore) -> None:
    """Absent → live → condemned → live → condemned → tombstone → live, each by one swap."""
    records = Records(object_store)
    assert records.read(DIGEST) is None
    seen = records.write(live(inline=True), None)
    states = [State.CONDEMNED, State.LIVE, State.CONDEMNED, State.TOMBSTONE]
    for state in states:
        seen = records.write(seen.record.turned(state, new_nonce()), seen)
        assert records.read(DIGEST) is not None
    seen = records.write(live(), seen)
    current = records.read(DIGEST)
    assert current is not None
    assert (current.record, current.etag) == (seen.record, seen.etag)


@pytest.mark.parametrize("over", ["nothing", "a record"])
def test_lost_race(object_store: ObjectStore, over: str) -> None:
    """Whoever comes second is told what is there now, and has changed nothing."""
    records = Records(object_store)
    seen = records.write(live(), None) if over == "a record" else None
    winner = records.write(live(), seen)
    with pytest.raises(LostRace) as lost:
        records.write(live(), seen)
    assert lost.value.current is not None
    assert lost.value.current.record == winner.record


def test_lost_race_of_the_same_bytes(folder_store: FolderStore) -> None:
    """Another change of a record is a lost race, though it names the same data."""
    records = Records(folder_store)
    seen = records.write(live(), None)
    winner = records.write(seen.record.turned(State.LIVE, new_nonce()), seen)
    with pytest.raises(LostRace) as lost:
        records.mark_corrupt(seen, new_nonce())
    assert lost.value.current is not None
    assert lost.value.current.record == winner.record


def test_lost_race_against_a_removal(folder_store: FolderStore) -> None:
    """A record that vanished (a tombstone taken away) is a lost race against nothing."""
    records = Records(folder_store)
    seen = records.write(live(), None)
    folder_store.delete(KEY)
    with pytest.raises(LostRace) as lost:
        records.write(live(), seen)
    assert lost.value.current is None


@pytest.mark.parametrize("takes_effect", [True, False])
@pytest.mark.parametrize("over", ["nothing", "a record"])
def test_lost_reply(folder_store: FolderStore, takes_effect: bool, over: str) -> None:
    """A lost reply is resolved by reading: one's own nonce is success, the old state a resend."""
    seen = Records(folder_store).write(live(), None) if over == "a record" else None
    record = live()
    written = Records(LosingReplies(folder_store, takes_effect=takes_effect)).write(record, seen)
    current = Records(folder_store).read(DIGEST)
    assert current is not None
    assert current.record == written.record == record
    assert current.etag == written.etag


def test_refused_by_ones_own_write(folder_store: FolderStore) -> None:
    """412 because the lost first send has landed meanwhile is success."""
    record = live()
    store = LosingReplies(folder_store, takes_effect=False)
    lands_late = Interrupted(store, KEY, lambda: folder_store.put(KEY, record.encode()))
    assert Records(lands_late).write(record, None).record == record


def test_lost_reply_and_lost_race(folder_store: FolderStore) -> None:
    """A lost write that another one came before is a lost race."""
    other = live()
    store = Interrupted(
        LosingReplies(folder_store, takes_effect=False),
        KEY,
        lambda: folder_store.put(KEY, other.encode()),
    )
    with pytest.raises(LostRace) as lost:
        Records(store).write(live(), None)
    assert lost.value.current is not None
    assert lost.value.current.record == other


def test_outcome_that_stays_unknown(folder_store: FolderStore) -> None:
    """After some sends without any reply the write is given up as Unavailable."""
    store = LosingReplies(folder_store, takes_effect=False, times=100)
    with pytest.raises(Unavailable, match="confirmed none"):
        Records(store).write(live(), None)
    assert store.left == 95


def test_permission_is_asked_before_every_send(folder_store: FolderStore) -> None:
    """may_send is called before each send, and what it raises stops the write."""
    asked = []

    def may_send() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Aborted("too old")

    store = LosingReplies(folder_store, takes_effect=False, times=100)
    with pytest.raises(Aborted):
        Records(store).write(live(), None, may_send)
    assert Records(folder_store).read(DIGEST) is None


def test_equal_records_have_unequal_etags(object_store: ObjectStore) -> None:
    """Two records that differ in their nonces alone never satisfy each other's conditions."""
    records = Records(object_store)
    record = live()
    first = records.write(record, None)
    second = records.write(replace(record, nonce=new_nonce()), first)
    assert first.etag != second.etag
    with pytest.raises(LostRace):
        records.write(live(), Seen(record, first.etag, first.last_modified))
