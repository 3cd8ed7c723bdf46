"""The port's conformance suite: what every object store must do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from holdfast.errors import DataLoss
from holdfast.storage import documents
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import (
    LARGEST_WHOLE,
    MIN_PART_SIZE,
    Buffer,
    Condition,
    ConditionFailed,
    IfAbsent,
    IfMatch,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    ObjectStore,
    Part,
    TooLarge,
)
from holdfast.storage.probe import deletes_conditionally

UNKNOWN_ETAG = "0123456789abcdef0123456789abcdef"
WRITERS = 16


def keys(store: ObjectStore, prefix: str, start_after: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix, start_after)]


def parts_of(store: ObjectStore, key: str, *bodies: bytes) -> tuple[str, list[Part]]:
    upload = store.create_upload(key)
    return upload.id, [
        store.put_part(key, upload.id, number, body) for number, body in enumerate(bodies, start=1)
    ]


# -- whole objects


def test_what_is_too_large_is_not_read(object_store: ObjectStore) -> None:
    """An object that is none of ours is refused before its bytes fill the memory; a part isn't."""
    upload, parts = parts_of(object_store, "data/large", bytes(LARGEST_WHOLE + 1))
    object_store.complete_upload("data/large", upload, parts)
    for _ in range(2):
        with pytest.raises(TooLarge, match="67108865 bytes") as caught:
            object_store.get("data/large")
        assert caught.value.entry == object_store.head("data/large")
        assert object_store.get("data/large", 1).entry == caught.value.entry
    assert object_store.get("data/large", LARGEST_WHOLE, 1).body == b"\0"
    with pytest.raises(documents.Damaged) as damaged:
        documents.read(object_store, "data/large", lambda _, body: body)
    assert damaged.value.entry == caught.value.entry


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 1000])
def test_reads_back(object_store: ObjectStore, body: bytes) -> None:
    """What was put is read back in full, empty bodies too."""
    object_store.put("data/a", body)
    assert object_store.get("data/a").body == body


def test_etags_agree(object_store: ObjectStore) -> None:
    """Put, get, head and list tell the same ETag, size and key, and no quotes."""
    written = object_store.put("data/a", b"hello")
    (listed,) = object_store.list("data/")
    fetched, headed = object_store.get("data/a").entry, object_store.head("data/a")
    assert written.etag == fetched.etag == headed.etag == listed.etag
    assert '"' not in written.etag
    assert [e.size for e in (fetched, headed, listed)] == [5, 5, 5]
    assert [e.key for e in (fetched, headed, listed)] == ["data/a"] * 3


def test_times_are_the_stores(object_store: ObjectStore) -> None:
    """Dates of replies, last-modified times and now() are of one clock."""
    written = object_store.put("data/a", b"hello")
    fetched = object_store.get("data/a")
    for moment in (
        fetched.date,
        fetched.entry.last_modified,
        object_store.head("data/a").last_modified,
        object_store.now(),
    ):
        assert abs(moment - written.date) < 30


@pytest.mark.parametrize("read", ["get", "head"])
def test_absent_object(object_store: ObjectStore, read: str) -> None:
    """Reading what isn't there is NoSuchKey."""
    with pytest.raises(NoSuchKey):
        getattr(object_store, read)("data/absent")


def test_overwrites(object_store: ObjectStore) -> None:
    """A put without a condition replaces the object and changes its ETag."""
    first = object_store.put("data/a", b"one")
    second = object_store.put("data/a", b"three")
    assert object_store.get("data/a").body == b"three"
    assert first.etag != second.etag == object_store.head("data/a").etag


def test_delete(object_store: ObjectStore) -> None:
    """A deleted object is gone from reads and listings; deleting it again is no error."""
    object_store.put("data/a", b"one")
    object_store.put("data/b", b"two")
    object_store.delete("data/a")
    object_store.delete("data/a")
    with pytest.raises(NoSuchKey):
        object_store.get("data/a")
    assert keys(object_store, "data/") == ["data/b"]


def test_delete_if(object_store: ObjectStore) -> None:
    """A delete of one ETag takes that object alone; a store that ignores it is found out."""
    if not deletes_conditionally(object_store):
        stale = object_store.put("blobs/a", b"one").etag
        object_store.put("blobs/a", b"two")
        object_store.delete_if("blobs/a", stale)
        assert keys(object_store, "") == []  # the probe's own are gone, too
        return
    stale = object_store.put("blobs/a", b"one").etag
    current = object_store.put("blobs/a", b"two").etag
    with pytest.raises(ConditionFailed):
        object_store.delete_if("blobs/a", stale)
    assert object_store.get("blobs/a").body == b"two"
    object_store.delete_if("blobs/a", current)
    assert keys(object_store, "") == []


def test_delete_if_of_nothing(folder_store: FolderStore) -> None:
    """A delete of an ETag that isn't there any more is a failed condition."""
    etag = folder_store.put("blobs/a", b"one").etag
    folder_store.delete("blobs/a")
    with pytest.raises(ConditionFailed):
        folder_store.delete_if("blobs/a", etag)


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "data/A.b_c-d=e",
        "holds/a..b/sha256/0/x",
        "a/b/c/d/e/f",
        "x/" + "k" * 200,
        "t/a.parts/x",
    ],
)
def test_unusual_keys(object_store: ObjectStore, key: str) -> None:
    """Any key of the port's alphabet works for every operation."""
    object_store.put(key, b"body")
    assert object_store.get(key).body == b"body"
    assert keys(object_store, "") == [key]
    assert keys(object_store, key) == [key]
    object_store.delete(key)
    assert keys(object_store, "") == []


# -- ranges


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 3, b"012"),
        (3, 4, b"3456"),
        (7, None, b"789"),
        (9, 1, b"9"),
        (0, 10, b"0123456789"),
        (0, None, b"0123456789"),
        (4, 0, b""),
        (10, 0, b""),
        (10, None, b""),
    ],
)
def test_ranges(
    object_store: ObjectStore, offset: int, length: int | None, expected: bytes
) -> None:
    """A range within the object gives its bytes, and the size of the whole."""
    object_store.put("data/a", b"0123456789")
    fetched = object_store.get("data/a", offset, length)
    assert (fetched.body, fetched.entry.size) == (expected, 10)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 11), (8, 3), (10, 1), (11, None), (11, 0), (50, 2)]
)
def test_ranges_past_the_end(object_store: ObjectStore, offset: int, length: int | None) -> None:
    """A range that ends after the object is DataLoss, never fewer bytes."""
    object_store.put("data/a", b"0123456789")
    with pytest.raises(DataLoss):
        object_store.get("data/a", offset, length)


def test_ranges_of_an_empty_object(object_store: ObjectStore) -> None:
    """An empty object has one range, the empty one."""
    object_store.put("data/a", b"")
    assert object_store.get("data/a", 0, 0).body == b""
    with pytest.raises(DataLoss):
        object_store.get("data/a", 0, 1)


@pytest.mark.parametrize("length", [None, 0, 1])
def test_range_of_an_absent_object(object_store: ObjectStore, length: int | None) -> None:
    """A range of what isn't there is NoSuchKey, not DataLoss."""
    with pytest.raises(NoSuchKey):
        object_store.get("data/absent", 0, length)


# -- listings

TREE = ["a/1", "a/1.deleting", "a/10", "a/2", "a-b/1", "a.b/1", "a=b/1", "aA/1", "a_/1", "b/x/y/z"]


@pytest.fixture
def tree(object_store: ObjectStore) -> ObjectStore:
    for key in TREE:
        object_store.put(key, b"x")
    return object_store


@pytest.mark.parametrize(
    "prefix", ["", "a", "a/", "a/1", "a-", "b/x", "b/x/", "b/x/y/z", "b/x/y/zz", "c", "c/d"]
)
def test_list_by_prefix(tree: ObjectStore, prefix: str) -> None:
    """A listing holds what begins with the prefix, in order of the whole key."""
    assert keys(tree, prefix) == sorted(key for key in TREE if key.startswith(prefix))


@pytest.mark.parametrize(
    "start_after", ["a", "a/", "a/1", "a/1.", "a/1.deleting", "a/9", "a.b/1", "a_", "b/x/y", "zzz"]
)
@pytest.mark.parametrize("prefix", ["", "a", "a/"])
def test_list_from_a_key_on(tree: ObjectStore, prefix: str, start_after: str) -> None:
    """start_after is exclusive, compares whole keys, and needn't exist or fit the prefix."""
    expected = sorted(key for key in TREE if key.startswith(prefix) and key > start_after)
    assert keys(tree, prefix, start_after) == expected


def test_list_is_consistent(object_store: ObjectStore) -> None:
    """A listing shows every write and delete before it at once."""
    for number in range(20):
        object_store.put(f"h/{number:02}", b"x")
        if number % 2:
            object_store.delete(f"h/{number - 1:02}")
        expected = [f"h/{n:02}" for n in range(number + 1) if n % 2 or n == number]
        assert keys(object_store, "h/") == expected


def test_list_while_deleting(object_store: ObjectStore) -> None:
    """What is deleted by the consumer of a listing doesn't disturb it."""
    for number in range(10):
        object_store.put(f"h/t/{number}/x", b"x")
    seen = []
    for entry in object_store.list("h/"):
        seen.append(entry.key)
        object_store.delete(entry.key)
    assert seen == [f"h/t/{number}/x" for number in range(10)]
    assert keys(object_store, "h/") == []


# -- conditions


def test_create_only(object_store: ObjectStore) -> None:
    """IfAbsent creates an object, and leaves one that is there as it is."""
    first = object_store.put("blobs/a", b"one", IfAbsent())
    with pytest.raises(ConditionFailed):
        object_store.put("blobs/a", b"two", IfAbsent())
    fetched = object_store.get("blobs/a")
    assert (fetched.body, fetched.entry.etag) == (b"one", first.etag)


def test_change_only(object_store: ObjectStore) -> None:
    """IfMatch replaces the object of that ETag, and no other."""
    first = object_store.put("blobs/a", b"one", IfAbsent())
    second = object_store.put("blobs/a", b"two", IfMatch(first.etag))
    with pytest.raises(ConditionFailed):
        object_store.put("blobs/a", b"three", IfMatch(first.etag))
    fetched = object_store.get("blobs/a")
    assert (fetched.body, fetched.entry.etag) == (b"two", second.etag)


@pytest.mark.parametrize("method", ["get", "head", "list"])
def test_change_with_an_etag_from(object_store: ObjectStore, method: str) -> None:
    """The ETags that get, head and list tell satisfy IfMatch."""
    object_store.put("blobs/a", b"one")
    etag = {
        "get": lambda: object_store.get("blobs/a").entry.etag,
        "head": lambda: object_store.head("blobs/a").etag,
        "list": lambda: next(object_store.list("blobs/")).etag,
    }[method]()
    object_store.put("blobs/a", b"two", IfMatch(etag))
    assert object_store.get("blobs/a").body == b"two"


def test_change_of_an_absent_object(object_store: ObjectStore) -> None:
    """IfMatch on an object that isn't there fails, and writes nothing."""
    with pytest.raises(ConditionFailed):
        object_store.put("blobs/a", b"one", IfMatch(UNKNOWN_ETAG))
    assert keys(object_store, "blobs/") == []


def test_create_after_delete(object_store: ObjectStore) -> None:
    """IfAbsent holds again once the object is deleted, and old ETags don't match the new."""
    first = object_store.put("blobs/a", b"one", IfAbsent())
    object_store.delete("blobs/a")
    with pytest.raises(ConditionFailed):
        object_store.put("blobs/a", b"two", IfMatch(first.etag))
    object_store.put("blobs/a", b"two", IfAbsent())
    assert object_store.get("blobs/a").body == b"two"


@pytest.mark.parametrize("kind", ["create", "change"])
def test_one_winner(object_store: ObjectStore, kind: str) -> None:
    """Of 16 conditional puts at once exactly one succeeds, and its bytes are there."""
    for number in range(3):
        key = f"blobs/{number}"
        condition: Condition = (
            IfAbsent() if kind == "create" else IfMatch(object_store.put(key, b"start").etag)
        )
        winners = race(partial(put_if, object_store, key, condition))
        assert len(winners) == 1
        assert object_store.get(key).body == b"%d" % winners[0]


def put_if(store: ObjectStore, key: str, condition: Condition, number: int) -> bool:
    try:
        store.put(key, b"%d" % number, condition)
    except ConditionFailed:
        return False
    return True


def race(attempt: Callable[[int], bool]) -> list[int]:
    """Runs 16 attempts at once; returns the numbers of those that succeeded."""
    barrier = threading.Barrier(WRITERS)

    def run(number: int) -> bool:
        barrier.wait()
        return attempt(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return [n for n, won in enumerate(pool.map(run, range(WRITERS))) if won]


def test_no_update_is_lost(object_store: ObjectStore) -> None:
    """A counter that many threads raise by compare-and-swap counts every one of them."""
    object_store.put("blobs/counter", b"0")

    def raise_it(_: int) -> None:
        while True:
            seen = object_store.get("blobs/counter")
            try:
                body = b"%d" % (int(seen.body) + 1)
                object_store.put("blobs/counter", body, IfMatch(seen.entry.etag))
            except (ConditionFailed, NoSuchKey):
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(raise_it, range(20)))
    assert object_store.get("blobs/counter").body == b"20"


# -- uploads


def test_upload(object_store: ObjectStore) -> None:
    """Completing an upload makes the object of its parts, with the ETag that was told."""
    first, last = b"a" * MIN_PART_SIZE, b"rest"
    upload, parts = parts_of(object_store, "data/a", first, last)
    assert keys(object_store, "data/") == []
    written = object_store.complete_upload("data/a", upload, parts)
    fetched = object_store.get("data/a")
    assert fetched.body == first + last
    assert fetched.entry.etag == written.etag == object_store.head("data/a").etag
    assert object_store.get("data/a", MIN_PART_SIZE - 2, 4).body == b"aare"
    assert keys(object_store, "data/") == ["data/a"]


def test_composite_etag(object_store: ObjectStore) -> None:
    """A composite ETag that is computed is the real one; where it can't be, it is None."""
    for key in ("data/a", "data/b"):
        upload, parts = parts_of(object_store, key, b"a" * MIN_PART_SIZE, key.encode())
        before = object_store.composite_etag(parts)
        written = object_store.complete_upload(key, upload, parts)
        assert before in {None, written.etag}
        assert object_store.composite_etag(parts) in {None, written.etag}


def test_parts_are_listed(object_store: ObjectStore) -> None:
    """list_parts tells the parts that put_part stored, by number, whatever their order."""
    upload = object_store.create_upload("data/a")
    assert list(object_store.list_parts("data/a", upload.id)) == []
    third = object_store.put_part("data/a", upload.id, 3, b"three")
    first = object_store.put_part("data/a", upload.id, 1, b"one")
    assert list(object_store.list_parts("data/a", upload.id)) == [first, third]
    assert (first.number, first.size) == (1, 3)


def test_a_part_in_pieces(object_store: ObjectStore) -> None:
    """A part that is given in several pieces is stored as if it were one."""
    upload = object_store.create_upload("data/a").id
    pieces: list[Buffer] = [b"one", memoryview(b"-two-")[1:4], bytearray(b"three"), b""]
    part = object_store.put_part("data/a", upload, 1, pieces)
    assert (part.number, part.size) == (1, 11)
    assert object_store.list_parts("data/a", upload) == [part]
    object_store.complete_upload("data/a", upload, [part])
    assert object_store.get("data/a").body == b"onetwothree"


def test_upload_date(object_store: ObjectStore) -> None:
    """An upload's date is the store's time of its creation."""
    assert abs(object_store.create_upload("data/a").date - object_store.now()) < 30


def test_replaced_part(object_store: ObjectStore) -> None:
    """A part that is sent again replaces the earlier one; its old ETag is refused."""
    upload, (old,) = parts_of(object_store, "data/a", b"old")
    new = object_store.put_part("data/a", upload, 1, b"newer")
    assert list(object_store.list_parts("data/a", upload)) == [new]
    with pytest.raises(InvalidPart):
        object_store.complete_upload("data/a", upload, [old])
    object_store.complete_upload("data/a", upload, [new])
    assert object_store.get("data/a").body == b"newer"


def test_same_part_again(object_store: ObjectStore) -> None:
    """A part that is sent twice with the same bytes is there once."""
    upload, _ = parts_of(object_store, "data/a", b"same")
    again = object_store.put_part("data/a", upload, 1, b"same")
    object_store.complete_upload("data/a", upload, [again])
    assert object_store.get("data/a").body == b"same"


def test_only_named_parts_count(object_store: ObjectStore) -> None:
    """Parts that a completion doesn't name are not in the object."""
    upload, parts = parts_of(object_store, "data/a", b"one", b"two")
    object_store.complete_upload("data/a", upload, parts[:1])
    assert object_store.get("data/a").body == b"one"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: [parts[0], Part(2, UNKNOWN_ETAG, parts[1].size)],
        lambda parts: [parts[0], Part(3, parts[1].etag, parts[1].size)],
        lambda parts: [parts[1], parts[0]],
        lambda parts: [parts[0], parts[0]],
        lambda _: [],
    ],
    ids=["wrong etag", "absent part", "wrong order", "twice", "none"],
)
def test_complete_with_wrong_parts(
    object_store: ObjectStore, spoil: Callable[[list[Part]], list[Part]]
) -> None:
    """Parts that aren't there are InvalidPart; the upload stays, and can be completed rightly."""
    upload, parts = parts_of(object_store, "data/a", b"a" * MIN_PART_SIZE, b"rest")
    with pytest.raises(InvalidPart):
        object_store.complete_upload("data/a", upload, spoil(parts))
    assert keys(object_store, "data/") == []
    object_store.complete_upload("data/a", upload, parts)
    assert object_store.head("data/a").size == MIN_PART_SIZE + 4


def test_complete_twice(object_store: ObjectStore) -> None:
    """A completion that is sent again changes nothing: NoSuchUpload, or the same reply."""
    upload, parts = parts_of(object_store, "data/a", b"bytes")
    first = object_store.complete_upload("data/a", upload, parts)
    try:
        again = object_store.complete_upload("data/a", upload, parts)
    except NoSuchUpload:
        pass
    else:
        assert again.etag == first.etag
    assert object_store.get("data/a").body == b"bytes"


def test_late_part(object_store: ObjectStore) -> None:
    """A part that comes after the completion is NoSuchUpload and changes nothing."""
    upload, parts = parts_of(object_store, "data/a", b"bytes")
    object_store.complete_upload("data/a", upload, parts)
    with pytest.raises(NoSuchUpload):
        object_store.put_part("data/a", upload, 1, b"other")
    with pytest.raises(NoSuchUpload):
        object_store.list_parts("data/a", upload)
    assert object_store.get("data/a").body == b"bytes"


def test_complete_over_an_object(object_store: ObjectStore) -> None:
    """A completed upload replaces the object that was there, and a put replaces it again."""
    object_store.put("data/a", b"one")
    upload, parts = parts_of(object_store, "data/a", b"three")
    object_store.complete_upload("data/a", upload, parts)
    assert object_store.get("data/a").body == b"three"
    upload, parts = parts_of(object_store, "data/a", b"four")
    object_store.complete_upload("data/a", upload, parts)
    assert object_store.get("data/a").body == b"four"
    object_store.put("data/a", b"fifth")
    assert object_store.get("data/a").body == b"fifth"
    object_store.delete("data/a")
    assert keys(object_store, "") == []


def test_delete_of_a_completed_upload(object_store: ObjectStore) -> None:
    """An object made of parts is deleted like any other."""
    upload, parts = parts_of(object_store, "data/a", b"bytes")
    object_store.complete_upload("data/a", upload, parts)
    object_store.delete("data/a")
    with pytest.raises(NoSuchKey):
        object_store.head("data/a")


def test_abort(object_store: ObjectStore) -> None:
    """An aborted upload is gone for every operation; aborting it again is no error."""
    upload, parts = parts_of(object_store, "data/a", b"bytes")
    object_store.abort_upload("data/a", upload)
    object_store.abort_upload("data/a", upload)
    with pytest.raises(NoSuchUpload):
        object_store.list_parts("data/a", upload)
    with pytest.raises(NoSuchUpload):
        object_store.put_part("data/a", upload, 2, b"late")
    with pytest.raises(NoSuchUpload):
        object_store.complete_upload("data/a", upload, parts)
    assert keys(object_store, "data/") == []


def test_abort_while_parts_arrive(object_store: ObjectStore) -> None:
    """After an abort nothing is left, though parts were in flight."""
    upload = object_store.create_upload("data/a")

    def send(number: int) -> None:
        with suppress(NoSuchUpload):
            object_store.put_part("data/a", upload.id, number + 1, b"x" * 100_000)

    with ThreadPoolExecutor(8) as pool:
        sent = pool.map(send, range(8))
        object_store.abort_upload("data/a", upload.id)
        list(sent)
    with pytest.raises(NoSuchUpload):
        object_store.list_parts("data/a", upload.id)


def test_unknown_upload(object_store: ObjectStore) -> None:
    """An upload id that was never given out is NoSuchUpload; aborting it is no error."""
    for unknown in ("nonsense", "0" * 32):
        with pytest.raises(NoSuchUpload):
            object_store.list_parts("data/a", unknown)
        with pytest.raises(NoSuchUpload):
            object_store.put_part("data/a", unknown, 1, b"x")
        object_store.abort_upload("data/a", unknown)


def test_uploads_are_listed(object_store: ObjectStore) -> None:
    """Uploads under way are listed by prefix, until they are completed or aborted."""
    started = time.time()
    ids = {}
    for key in ("data/a", "data/b", "tails/c"):
        ids[key], parts = parts_of(object_store, key, b"bytes")
    pending = {upload.key: upload.id for upload in object_store.list_uploads("data/")}
    assert pending.keys() == {"data/a", "data/b"}
    assert all(u.initiated < started + 60 for u in object_store.list_uploads("data/"))
    object_store.abort_upload("data/a", ids["data/a"])
    object_store.abort_upload("data/b", pending["data/b"])
    assert list(object_store.list_uploads("data/")) == []
    object_store.complete_upload("tails/c", ids["tails/c"], parts)
    assert list(object_store.list_uploads("")) == []


def test_two_uploads_of_one_key(object_store: ObjectStore) -> None:
    """Uploads of one key don't mix their parts."""
    one, parts = parts_of(object_store, "data/a", b"one")
    other, _ = parts_of(object_store, "data/a", b"other")
    object_store.complete_upload("data/a", one, parts)
    assert object_store.get("data/a").body == b"one"
    object_store.abort_upload("data/a", other)
    assert object_store.get("data/a").body == b"one"


# -- the store itself


def test_check_access(object_store: ObjectStore) -> None:
    """A store that is there passes, as often as it is asked."""
    object_store.check_access()
    object_store.check_access()


def test_clock_moves_on(object_store: ObjectStore) -> None:
    """The store's clock doesn't stand still, and is a plausible time."""
    first = object_store.now()
    deadline = time.monotonic() + 30
    while object_store.now() == first:
        assert time.monotonic() < deadline
    assert abs(first - time.time()) < 600
