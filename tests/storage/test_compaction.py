"""Compaction: many holds become one that says what all said, and nobody loses the last one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from holdfast.storage.compaction import Compaction
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import FEW, Holds, merged
from holdfast.storage.keys import DELETING, hold_prefix
from holdfast.storage.port import Condition, ConditionFailed, NoSuchKey, Written
from holdfast.storage.records import new_nonce
from holdfast.values import Info
from tests.storage.blobs_fixture import DIGEST, NOW, hold, shop_on
from tests.stores.wrapped import Wrapped

PREFIX = hold_prefix("a", DIGEST)
MANY = FEW + 3


def crowd(holds: Holds, spoken: int = 2) -> Info:
    """Many holds, of which one that isn't the newest has labels; what they say together."""
    for number in range(MANY):
        holds.make("a", hold({"l": "v"} if number == spoken else {}), f"{number:02}")
    return merged(holds.find("a", DIGEST))


def compaction(store: FolderStore, holds: Holds) -> Compaction:
    """One that hasn't begun."""
    return Compaction(store, holds, new_nonce, "a", DIGEST)


def names(store: FolderStore) -> list[str]:
    """Holds and marks, in order."""
    return [entry.key.removeprefix(PREFIX) for entry in store.list(PREFIX)]


@pytest.mark.parametrize("spoken", [0, MANY - 1])
def test_one_is_left(folder_store: FolderStore, spoken: int) -> None:
    """The newest hold is left, without a mark, and says what all said together."""
    holds = shop_on(folder_store).holds
    before = crowd(holds, spoken)
    steps = compaction(folder_store, holds)
    assert steps.mark()
    assert merged(holds.find("a", DIGEST)) == before, "while marks are there, nothing is lost"
    steps.unlink()
    assert names(folder_store) == [f"{MANY - 1:02}"]
    assert merged(holds.find("a", DIGEST)) == before


def test_few_are_left_alone(folder_store: FolderStore) -> None:
    """A few holds cost no request beyond the look."""
    holds = shop_on(folder_store).holds
    for number in range(FEW):
        holds.make("a", hold(), f"{number:02}")
    assert not compaction(folder_store, holds).mark()
    assert names(folder_store) == [f"{number:02}" for number in range(FEW)]


def test_what_stays_must_have_no_mark(folder_store: FolderStore) -> None:
    """Where the newest is marked by the time that the others are, nothing may be deleted."""
    holds = shop_on(folder_store).holds
    crowd(holds)

    class MarkedMeanwhile(Wrapped):
        def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
            newest = f"{PREFIX}{MANY - 1:02}"
            if key.endswith(DELETING):
                folder_store.put(newest + DELETING, b"")
            return super().put(key, body, condition)

    store = MarkedMeanwhile(folder_store)
    assert not Compaction(store, holds, new_nonce, "a", DIGEST).mark()
    assert len([name for name in names(folder_store) if not name.endswith(DELETING)]) == MANY


def test_a_delete_isnt_undone(folder_store: FolderStore) -> None:
    """A Delete between the steps takes the newest too, and it doesn't come back."""
    holds = shop_on(folder_store).holds
    crowd(holds)
    steps = compaction(folder_store, holds)
    assert steps.mark()
    holds.drop("a", DIGEST)
    with pytest.raises((NoSuchKey, ConditionFailed)):
        steps.unlink()
    assert names(folder_store) == []


def test_labels_of_a_marked_hold(folder_store: FolderStore) -> None:
    """Labels that an Update wrote over a hold which was marked meanwhile are kept."""
    holds = shop_on(folder_store).holds
    crowd(holds)
    (speaking,) = [named for named in holds.find("a", DIGEST) if named.hold.labels]

    def change(old: Mapping[str, str]) -> Mapping[str, str]:
        return {**old, "late": "yes"}

    steps = compaction(folder_store, holds)
    assert steps.mark()
    holds.relabel([speaking], change, NOW + 10**9)
    steps.unlink()
    assert merged(holds.find("a", DIGEST)).labels == {"l": "v", "late": "yes"}
