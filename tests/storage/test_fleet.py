"""What frontends and collectors agree on through the store."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from holdfast.errors import DataLoss, OutcomeUnknown, Unavailable, UnsupportedFormat
from holdfast.storage import documents
from holdfast.storage.fleet import ATTEMPTS, LIFETIME, LONGEST, declare_lifetime, longest_lifetime
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from tests.storage.edited import newer
from tests.stores.counting import CountingStore


def test_the_longest_life_counts(object_store: ObjectStore) -> None:
    """What is declared only ever rises, and is 0 before anything is."""
    assert longest_lifetime(object_store) == 0
    assert declare_lifetime(object_store, 3600.0) == 3600
    assert declare_lifetime(object_store, 7200.5) == 7200.5
    assert declare_lifetime(object_store, 1800.0) == 7200.5
    assert longest_lifetime(object_store) == 7200.5


def test_many_at_once(folder_store: FolderStore) -> None:
    """Whoever declares at once with others, the longest stands."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(declare_lifetime, folder_store), range(1000, 1008)))
    assert longest_lifetime(folder_store) == 1007


def test_a_longer_life_meanwhile(folder_store: FolderStore) -> None:
    """What another frontend declares between a look and the write stands if it is longer."""
    store, others = CountingStore(folder_store), iter([7200.0])

    def declare(operation: str, key: str) -> None:
        if (operation, key) == ("put", LIFETIME) and (longer := next(others, None)):
            declare_lifetime(folder_store, longer)

    store.before = declare
    assert declare_lifetime(store, 3600.0) == 7200
    assert longest_lifetime(folder_store) == 7200


def test_a_lost_reply(folder_store: FolderStore) -> None:
    """A reply that was lost is resolved by looking."""
    store = CountingStore(folder_store)
    lost = iter([True])

    def lose(operation: str, key: str) -> None:
        if (operation, key) == ("put", LIFETIME) and next(lost, False):
            raise OutcomeUnknown("no reply")

    store.after = lose
    assert declare_lifetime(store, 3600.0) == 3600
    assert store.operations().count("put") == 1


def test_what_is_never_confirmed_is_no_declaration(folder_store: FolderStore) -> None:
    """A frontend whose declaration isn't confirmed is told so."""
    store = CountingStore(folder_store)

    def refuse(operation: str, key: str) -> None:
        if (operation, key) == ("put", LIFETIME):
            raise OutcomeUnknown("no reply")

    store.before = refuse
    with pytest.raises(Unavailable, match=str(ATTEMPTS)):
        declare_lifetime(store, 3600.0)


def test_a_newer_format_is_refused(folder_store: FolderStore) -> None:
    """What a newer version declared isn't guessed at."""
    folder_store.put(LIFETIME, newer())
    with pytest.raises(UnsupportedFormat):
        longest_lifetime(folder_store)


@pytest.mark.parametrize("seconds", [LONGEST + 1, 1e300, math.inf])
def test_a_longer_life_than_there_is(folder_store: ObjectStore, seconds: float) -> None:
    """A value that no frontend may declare counts as the longest one: garbage has an end."""
    document = {"format": 2, "seconds": seconds, "nonce": "n"}
    folder_store.put(LIFETIME, documents.encode(document))
    assert longest_lifetime(folder_store) == LONGEST
    assert declare_lifetime(folder_store, 7200) == LONGEST


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_what_is_no_life(folder_store: ObjectStore, seconds: float) -> None:
    """What isn't a time is damage, and isn't taken for a short one."""
    document = {"format": 2, "seconds": seconds, "nonce": "n"}
    folder_store.put(LIFETIME, documents.encode(document))
    with pytest.raises(DataLoss):
        longest_lifetime(folder_store)


def flip(store: ObjectStore) -> None:
    """Changes a bit of what is declared, where it is stored."""
    body = bytearray(store.get(LIFETIME).body)
    body[len(body) // 2] ^= 4
    store.put(LIFETIME, bytes(body))


def test_what_is_damaged_is_replaced(object_store: ObjectStore) -> None:
    """A damaged value may have been any: nobody goes by it, and a frontend makes it the longest."""
    told: list[DataLoss] = []
    declare_lifetime(object_store, 7200.0, told.append)
    flip(object_store)
    with pytest.raises(DataLoss, match="start a frontend again"):
        longest_lifetime(object_store)
    assert declare_lifetime(object_store, 3600.0, told.append) == LONGEST
    assert longest_lifetime(object_store) == LONGEST
    [damage] = told
    assert LIFETIME in str(damage)


def test_what_is_torn_is_replaced(tmp_path: Path) -> None:
    """An object that a disk has torn is replaced like one with a flipped bit."""
    store = FolderStore(tmp_path / "store")
    store.check_access()
    declare_lifetime(store, 7200.0)
    [path] = (tmp_path / "store").rglob("ingest-lifetime")
    path.write_bytes(path.read_bytes()[:20])
    assert declare_lifetime(store, 3600.0) == LONGEST
    assert longest_lifetime(store) == LONGEST


def test_what_was_replaced_meanwhile(folder_store: FolderStore) -> None:
    """Of frontends that find the same damage one replaces it; nobody lowers the value."""
    declare_lifetime(folder_store, 7200.0)
    flip(folder_store)
    store, others = CountingStore(folder_store), iter([True])

    def replace(operation: str, key: str) -> None:
        if (operation, key) == ("put", LIFETIME) and next(others, False):
            declare_lifetime(folder_store, 10.0)

    store.before = replace
    assert declare_lifetime(store, 3600.0) == LONGEST
    assert longest_lifetime(folder_store) == LONGEST
