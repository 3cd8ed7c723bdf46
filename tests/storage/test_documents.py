"""Stored documents: each flipped bit is damage, and a damaged reply is asked for once more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.scrub.cursor import Cursor
from holdfast.storage import documents, fleet
from holdfast.storage.blocks import sums_of
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Hold
from holdfast.storage.keys import data_key, hold_prefix, missing_key, record_key
from holdfast.storage.port import NoSuchKey
from holdfast.storage.records import INLINE_LIMIT, Record, State
from holdfast.storage.sightings import Sightings
from tests.storage.blobs_fixture import DIGEST, hold, live, shop_on
from tests.storage.edited import edited, newer
from tests.stores.counting import CountingStore
from tests.stores.faults import FlippedReplies, flipped

HOLD_KEY = hold_prefix("a", DIGEST) + "name"
NUMBERS = st.integers(0, 2**62)
UNKNOWN = st.dictionaries(
    st.text().filter(lambda name: name != documents.SUM),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists),
    max_size=3,
)


def bodies() -> list[Any]:
    """A document of each kind, and what reads it."""
    record, inline = live("data/n", nonce="n"), live("data/n", inline=True, nonce="n")
    labelled = hold({"containerd.io/gc.ref.content.0": "sha256:ab"})
    return [
        pytest.param(record.encode(), Record.decode, record_key(DIGEST), id="record"),
        pytest.param(inline.encode(), Record.decode, record_key(DIGEST), id="inline"),
        pytest.param(
            inline.turned(State.TOMBSTONE, "m").encode(),
            Record.decode,
            record_key(DIGEST),
            id="tombstone",
        ),
        pytest.param(labelled.encode(), Hold.decode, HOLD_KEY, id="hold"),
        pytest.param(Cursor(1.5, DIGEST).encode(), Cursor.decode, "scrub/cursor", id="cursor"),
    ]


def refuses_each_flip(body: bytes, decode: Callable[[str, bytes], object], key: str) -> None:
    decode(key, body)
    for bit in range(8 * len(body)):
        with pytest.raises(DataLoss, match=key):
            decode(key, flipped(body, bit))


# -- the document


@pytest.mark.parametrize(("body", "decode", "key"), bodies())
def test_each_flipped_bit(body: bytes, decode: Callable[[str, bytes], object], key: str) -> None:
    """Whichever single bit of a document is flipped, reading it is DataLoss that names it."""
    refuses_each_flip(body, decode, key)


@given(st.data(), st.sampled_from(State), st.binary(max_size=300), UNKNOWN, NUMBERS, st.booleans())
def test_each_record(
    data: st.DataObject, state: State, body: bytes, unknown: dict[str, Any], at: int, inline: bool
) -> None:
    """A record of any shape is read as it was written, and with any bit flipped it is DataLoss."""
    digest = Digest.of(body)
    record = Record(
        digest,
        state,
        len(body),
        at,
        data_key("n"),
        sums_of(body),
        "nonce",
        body if inline else None,
        {f"+{name}": value for name, value in unknown.items()},
    )
    stored, key = record.encode(), record_key(digest)
    assert Record.decode(key, stored) == record
    bit = data.draw(st.integers(0, 8 * len(stored) - 1))
    with pytest.raises(DataLoss):
        Record.decode(key, flipped(stored, bit))


@given(st.data(), st.dictionaries(st.text(), st.text(), max_size=5), UNKNOWN, NUMBERS, NUMBERS)
def test_each_hold(
    data: st.DataObject, labels: dict[str, str], unknown: dict[str, Any], at: int, size: int
) -> None:
    """A hold of any shape is read as it was written, and with any bit flipped it is DataLoss."""
    added = {f"+{name}": value for name, value in unknown.items()}
    written = Hold(DIGEST, size, at, at, labels, at, "nonce", added)
    stored = written.encode()
    assert Hold.decode(HOLD_KEY, stored) == written
    bit = data.draw(st.integers(0, 8 * len(stored) - 1))
    with pytest.raises(DataLoss):
        Hold.decode(HOLD_KEY, flipped(stored, bit))


def test_the_sum_covers_all_before_it() -> None:
    """Documents are compact, their keys in order, and end with the CRC32C of what is before."""
    body = documents.encode({"b": 1, "a": [2]})
    assert documents.encode({"a": [2], "b": 1}) == body
    head = b'{"a":[2],"b":1'
    assert body == head + b',"sum":"%08x"}' % crc32c.crc32c(head)
    assert len(json.loads(body)["sum"]) == 8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"format":2}',
        b'{"format":99}',
        documents.encode({"format": 2})[:-1],
        documents.encode({"format": 2}) + b"\n",
        documents.encode({"format": 2}) * 2,
        documents.encode({}),
        documents.encode({"format": "2"}),
        documents.encode({"format": True}),
        documents.encode({"format": 0}),
    ],
)
def test_what_is_no_document(body: bytes) -> None:
    """Without the right sum at its end, or a format version, nothing is a document."""
    with pytest.raises(DataLoss, match="some/key"):
        documents.decode("some/key", body, 2)


def test_a_newer_format_has_the_right_sum() -> None:
    """Only a document whose sum is right is of a newer version; a flipped version is damage."""
    with pytest.raises(UnsupportedFormat, match=r"version 99.*up to 2.*upgrade"):
        documents.decode("k", newer(99), 2)
    written = documents.encode({"format": 2})
    with pytest.raises(DataLoss):
        documents.decode("k", written.replace(b"2,", b"6,"), 2)


def test_the_sum_is_no_field() -> None:
    """A document that is rewritten gets a sum of its own, and has only that one."""
    stored = edited(live(inline=True).encode(), added=1)
    record = Record.decode(record_key(DIGEST), stored)
    assert dict(record.unknown) == {"added": 1}
    again = record.turned(State.CONDEMNED, "other").encode()
    assert again.count(b'"sum"') == 1
    assert Record.decode(record_key(DIGEST), again).state is State.CONDEMNED


def test_fields() -> None:
    """A field of another type is DataLoss that quotes it shortened; a bool is no int."""
    assert documents.field("k", {"a": 1}, "a", int) == 1
    for value in (True, None, "x" * 10_000, 1.0):
        with pytest.raises(DataLoss) as raised:
            documents.field("k", {"a": value}, "a", int)
        assert len(str(raised.value)) < 300


# -- reading


def test_a_flipped_reply_decides_nothing(folder_store: FolderStore) -> None:
    """A record, hold, mark or lifetime whose reply had a flipped bit is read right."""
    shop = shop_on(folder_store)
    shop.records.write(live(inline=True), None)
    shop.holds.make("a", hold({"k": "v"}))
    Sightings(folder_store, lambda: "n").miss("a", "etag", None)
    fleet.declare_lifetime(folder_store, 7.0)

    def flip(prefix: str) -> FlippedReplies:
        return FlippedReplies(folder_store, prefix)

    seen = shop_on(flip(record_key(DIGEST))).records.read(DIGEST)
    assert seen is not None
    assert seen.record.state is State.LIVE
    [named] = shop_on(flip(hold_prefix("a", DIGEST))).holds.find("a", DIGEST)
    assert named.hold.labels == {"k": "v"}
    missing = Sightings(flip(missing_key("a")), lambda: "n").missing("a")
    assert missing is not None
    assert missing.seen == "etag"
    assert fleet.longest_lifetime(flip(fleet.LIFETIME)) == 7.0


def test_damaged_twice(folder_store: FolderStore) -> None:
    """What two replies in a row show damaged is damaged, with the ETag that is there."""
    written = shop_on(folder_store).records.write(live(), None)
    store = CountingStore(FlippedReplies(folder_store, record_key(DIGEST), times=2))
    seen = shop_on(store).records.read(DIGEST)
    assert seen is not None
    assert (seen.record.state, seen.etag) == (State.CORRUPT, written.etag)
    assert store.calls == [("get", record_key(DIGEST))] * 2


def test_what_is_well_is_read_once(folder_store: FolderStore) -> None:
    """A document that is whole, of a newer version or absent is asked for once."""
    folder_store.put("k", newer())
    for key, error in (("k", UnsupportedFormat), ("absent", NoSuchKey)):
        store = CountingStore(folder_store)
        with pytest.raises(error):
            documents.read(store, key, Record.decode)
        assert store.calls == [("get", key)]
    shop_on(folder_store).records.write(live(), None)
    store = CountingStore(folder_store)
    assert shop_on(store).records.read(DIGEST)
    assert store.calls == [("get", record_key(DIGEST))]


def test_a_large_inline_record(folder_store: FolderStore) -> None:
    """A flip in the bytes that a record carries is found and read once more too."""
    body = bytes(INLINE_LIMIT)
    digest = Digest.of(body)
    record = Record(digest, State.LIVE, len(body), 1, "data/n", sums_of(body), "n", body)
    shop_on(folder_store).records.write(record, None)
    store = FlippedReplies(folder_store, record_key(digest), bit=300_000)
    seen = shop_on(store).records.read(digest)
    assert seen is not None
    assert seen.record.inline == body
