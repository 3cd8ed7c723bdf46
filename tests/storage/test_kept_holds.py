"""Listings don't fetch holds that haven't changed, and memory is bounded."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Hold, Holds, StoredHold, merged
from holdfast.storage.kept_holds import OVERHEAD, KeptHolds
from holdfast.storage.keys import DELETING, hold_prefix, name_after, uuid7
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import new_nonce
from tests.storage.blobs_fixture import DIGEST, NOW, hold, shop_on
from tests.stores.counting import CountingStore

MIB = 2**20


def reading(store: ObjectStore, budget: int = 64 * MIB) -> tuple[Holds, CountingStore]:
    """Holds as a frontend has them, and what is asked of the store."""
    counting = CountingStore(store)
    return Holds(counting, uuid7, new_nonce, KeptHolds(budget)), counting


def listed(holds: Holds) -> list[list[StoredHold]]:
    return [holds.load_listed(group) for group in holds.groups("a")]


def hold_on(digest: Digest) -> Hold:
    return replace(hold({"n": "1"}), digest=digest)


def entry(key: str, etag: str) -> Entry:
    return Entry(key, 1, etag, 0.0)


def test_unchanged_holds_arent_fetched(object_store: ObjectStore) -> None:
    """A second listing fetches only what has changed since the first, and tells what is true."""
    plain = shop_on(object_store).holds
    digests = [Digest.of(b"%d" % number) for number in range(5)]
    for digest in digests:
        plain.make("a", hold_on(digest))
    holds, counting = reading(object_store)
    first = listed(holds)
    assert counting.operations().count("get") == 5
    counting.calls.clear()
    assert listed(holds) == first
    assert counting.operations() == ["list"]
    plain.relabel(plain.find("a", digests[2]), lambda _: {"n": "2"}, NOW + 1)
    plain.drop("a", digests[3])
    new = Digest.of(b"new")
    plain.make("a", hold_on(new))
    counting.calls.clear()
    again = {found[0].hold.digest: merged(found) for found in listed(holds)}
    assert counting.operations().count("get") == 2
    left = [*digests[:3], digests[4], new]
    assert again == {digest: merged(plain.find("a", digest)) for digest in left}


def test_marks_count_for_what_is_remembered(folder_store: FolderStore) -> None:
    """A hold that is remembered, and marked since, isn't listed any more."""
    holds, counting = reading(folder_store)
    key = holds.make("a", hold())
    listed(holds)
    folder_store.put(key + DELETING, b"")
    counting.calls.clear()
    assert listed(holds) == [[]]
    assert "get" not in counting.operations()


def test_another_etag_is_another_hold() -> None:
    """What is remembered counts under its own ETag alone."""
    kept = KeptHolds(10_000)
    kept.put("key", "1", b"one")
    assert kept.get(entry("key", "1")) == b"one"
    assert kept.get(entry("key", "2")) is None
    assert kept.get(entry("other", "1")) is None
    kept.put("key", "2", b"two")
    assert kept.get(entry("key", "2")) == b"two"
    assert kept.get(entry("key", "1")) is None


def test_a_budget() -> None:
    """The budget isn't passed: any other makes room, and what is too large stays out."""
    kept = KeptHolds(3 * (OVERHEAD + 11), lambda count: count - 2)
    for name in "abc":
        kept.put(name, "e", bytes(10))
    assert kept.size == 3 * (OVERHEAD + 11)
    kept.put("d", "e", bytes(10))
    assert [name for name in "abcd" if kept.get(entry(name, "e"))] == ["a", "c", "d"]
    kept.put("a", "f", bytes(9))
    assert [name for name in "abcd" if kept.get(entry(name, "e"))] == ["c", "d"]
    assert kept.size == 3 * (OVERHEAD + 11) - 1
    kept.put("e", "e", bytes(2000))
    assert kept.get(entry("e", "e")) is None
    assert kept.size == 3 * (OVERHEAD + 11) - 1


def test_a_little_more_than_fits() -> None:
    """Listings go round: of holds that are a quarter too many, most are still found."""
    names = [f"{number:03}" for number in range(500)]
    kept = KeptHolds(400 * (OVERHEAD + 3), random.Random(0).randrange)  # noqa: S311 -- a seed
    for _ in range(10):
        fetched = 0
        for name in names:
            if kept.get(entry(name, "e")) is None:
                fetched += 1
                kept.put(name, "e", b"")
        assert kept.size <= 400 * (OVERHEAD + 3)
    assert fetched < 250


def test_without_a_budget_nothing_is_kept(folder_store: FolderStore) -> None:
    """A budget of 0 fetches everything every time."""
    holds, counting = reading(folder_store, budget=0)
    holds.make("a", hold())
    for _ in range(2):
        listed(holds)
    assert counting.operations().count("get") == 2


# -- a delete that is taken back


def test_taken_back(object_store: ObjectStore) -> None:
    """Marked holds are replaced by one that says what they said together, before they go."""
    plain = shop_on(object_store).holds
    plain.make("a", hold({"l": "old"}, NOW))
    plain.make("a", hold({"l": "new"}, NOW + 5))
    before = merged(plain.find("a", DIGEST))
    keys = plain.mark("a", DIGEST)
    assert plain.find("a", DIGEST) == []
    holds, counting = reading(object_store)
    holds.take_back("a", keys)
    assert merged(plain.find("a", DIGEST)) == before
    [left] = [listed.key for listed in object_store.list(hold_prefix("a", DIGEST))]
    changes = [call for call in counting.calls if call[0] in {"put", "delete"}]
    assert changes[0] == ("put", left)
    assert {key for _, key in changes[1:]} == {*keys, *(key + DELETING for key in keys)}


def test_taken_back_beside_a_damaged_one(object_store: ObjectStore) -> None:
    """A damaged hold doesn't keep the others from being replaced; where all are, they stay."""
    holds = shop_on(object_store).holds
    damaged = holds.make("a", hold())
    object_store.put(damaged, b"{")
    with pytest.raises(DataLoss):
        holds.take_back("a", holds.mark("a", DIGEST))
    assert {entry.key for entry in object_store.list(hold_prefix("a", DIGEST))} == {
        damaged,
        damaged + DELETING,
    }
    holds.make("a", hold({"l": "x"}, NOW))
    before = merged(holds.find("a", DIGEST))
    holds.take_back("a", holds.mark("a", DIGEST))
    assert merged(holds.find("a", DIGEST)) == before
    assert len(list(object_store.list(hold_prefix("a", DIGEST)))) == 1


def test_what_replaces_them_sorts_after_them(folder_store: FolderStore) -> None:
    """A listing that is past the old holds comes to the new one, even if a clock is behind."""
    plain = shop_on(folder_store).holds
    ahead = uuid7(4_000_000_000_000)
    plain.make("a", hold(), ahead)
    plain.take_back("a", plain.mark("a", DIGEST))
    [named] = plain.find("a", DIGEST)
    assert named.key.rpartition("/")[2] > ahead


def test_names_after() -> None:
    """A later name sorts after any of ours, and strange names are no obstacle."""
    for moment in (0, 1_000, 4_000_000_000_000):
        name = uuid7(moment)
        assert all(name_after(name) > name for _ in range(20))
    assert len(name_after("strange")) == len(uuid7())


def test_taking_back_what_is_gone(folder_store: FolderStore) -> None:
    """Where a mark alone is left, it goes, and no hold is made of nothing."""
    plain = shop_on(folder_store).holds
    plain.make("a", hold())
    keys = plain.mark("a", DIGEST)
    folder_store.delete(keys[0])
    plain.take_back("a", keys)
    assert list(folder_store.list("")) == []
