"""Snapshots of holds: what is damaged, absent or out of date in one is looked up in vain."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import crc32c
import pytest

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import snapshot_prefix, uuid7
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.snapshots import COMPLETE, LARGEST, Snapshots, newest_of, unpacked
from tests.storage.blobs_fixture import NOW, hold
from tests.storage.edited import edited
from tests.stores.counting import CountingStore
from tests.stores.faults import flipped
from tests.stores.memory import MemoryStore

CHUNK = 1000
"""Bytes of a chunk in these tests: two holds of this size fit."""


class Died(BaseException):
    """The process died: no code of it runs any more."""


@pytest.fixture
def store() -> CountingStore:
    """A store in memory, with hooks."""
    return CountingStore(MemoryStore())


def fill(store: ObjectStore, number: int) -> list[Entry]:
    """Holds of one tenant, and their entries in a listing."""
    holds = Holds(store, uuid7, new_nonce)
    for n in range(number):
        holds.make("a", replace(hold({"n": str(n)}), digest=Digest.of(b"%d" % n)))
    return list(store.list("holds/a/"))


def write(store: ObjectStore, entries: list[Entry]) -> Snapshots:
    """A snapshot of these holds."""
    snapshots, holds = Snapshots(store, new_nonce, CHUNK), Holds(store, uuid7, new_nonce)
    writing = snapshots.begin("a")
    for entry in entries:
        writing.add([holds.named(entry.key)])
    writing.finish()
    return snapshots


def bodies(snapshots: Snapshots, entries: list[Entry]) -> list[bytes | None]:
    """What a reader finds of these holds."""
    snapshot = snapshots.newest("a")
    return [snapshot.body(entry) if snapshot else None for entry in entries]


def objects(store: ObjectStore) -> list[str]:
    return [entry.key for entry in store.list(snapshot_prefix("a"))]


def test_what_was_written_is_found(object_store: ObjectStore) -> None:
    """On each store a snapshot gives all that it was made of, over several chunks."""
    entries = fill(object_store, 7)
    snapshots = write(object_store, entries)
    assert len(objects(object_store)) >= 4
    found = bodies(snapshots, entries)
    assert found == [object_store.get(entry.key).body for entry in entries]


def test_each_chunk_is_read_once(store: CountingStore) -> None:
    """Looked up in order, holds cost a listing, the end and their chunks, each read once."""
    entries = fill(store, 20)
    snapshots = write(store, entries)
    store.calls.clear()
    assert None not in bodies(snapshots, entries)
    chunks = len(objects(store)) - 1
    assert sorted(store.operations()[:-1]) == ["get"] * (chunks + 1) + ["list"]


def test_only_the_listed_key_and_etag_count(store: CountingStore) -> None:
    """A hold under another ETag, another name, or before all others isn't in a snapshot."""
    first, *entries = fill(store, 5)
    snapshots = write(store, entries)
    strange = [
        replace(entries[1], etag="another"),
        replace(entries[1], key=entries[1].key + "0"),
        first,
    ]
    assert bodies(snapshots, strange) == [None, None, None]
    assert None not in bodies(snapshots, entries)


def test_each_flipped_bit(store: CountingStore) -> None:
    """A chunk with any bit flipped is damage."""
    write(store, fill(store, 1))
    chunk, _ = objects(store)
    body = store.get(chunk).body
    assert len(unpacked(chunk, body)) == 1
    for bit in range(8 * len(body)):
        with pytest.raises(DataLoss):
            unpacked(chunk, flipped(body, bit))


@pytest.mark.parametrize("body", [b"", b"{", b"00000000", b"0" * 8 + b"x"])
def test_what_is_no_chunk(body: bytes) -> None:
    """What isn't a chunk at all is damage too."""
    with pytest.raises(DataLoss):
        unpacked("key", body)


def test_a_chunk_that_would_fill_memory() -> None:
    """A chunk that unpacks into more than a frontend may have written is damage."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(LARGEST // 2**20 + 1))
    body += packer.flush()
    assert len(body) < 2**20
    with pytest.raises(DataLoss):
        unpacked("key", b"%08x" % crc32c.crc32c(body) + body)


def drop(store: ObjectStore, key: str) -> None:
    store.delete(key)


def damage(store: ObjectStore, key: str) -> None:
    store.put(key, flipped(store.get(key).body, 99))


@pytest.mark.parametrize("harm", [drop, damage])
def test_a_chunk_that_is_no_good(
    store: CountingStore, harm: Callable[[ObjectStore, str], None]
) -> None:
    """Of an absent or damaged chunk nothing is found, and of all others everything."""
    inner: ObjectStore = store
    entries = fill(inner, 6)
    snapshots = write(inner, entries)
    before = bodies(snapshots, entries)
    assert None not in before
    harm(inner, objects(inner)[1])
    after = bodies(snapshots, entries)
    assert after == [*before[:2], None, None, *before[4:]]


@pytest.mark.parametrize("harm", [drop, damage])
def test_an_end_that_is_no_good(
    store: CountingStore, harm: Callable[[ObjectStore, str], None]
) -> None:
    """Without its end, or with a damaged one, a snapshot is none."""
    inner: ObjectStore = store
    entries = fill(inner, 3)
    snapshots = write(inner, entries)
    harm(inner, objects(inner)[-1])
    assert snapshots.newest("a") is None


@pytest.mark.parametrize(
    "changes", [{"format": 3}, {"begins": "sha256"}, {"begins": [1]}, {"begins": None}]
)
def test_an_end_of_another_kind(store: CountingStore, changes: dict[str, object]) -> None:
    """An end of a newer version, or that names no chunks, is as good as none."""
    inner: ObjectStore = store
    snapshots = write(inner, fill(inner, 3))
    end = objects(inner)[-1]
    inner.put(end, edited(inner.get(end).body, **changes))
    assert snapshots.newest("a") is None


def test_a_newer_one_replaces_it(store: CountingStore) -> None:
    """A newer snapshot sorts after what any clock has named, and the older ones go."""
    inner: ObjectStore = store
    entries = fill(inner, 3)
    ahead = snapshot_prefix("a") + uuid7(4_000_000_000_000)
    for key in (f"{ahead}/000000", f"{ahead}/{COMPLETE}", snapshot_prefix("a") + "strange"):
        inner.put(key, b"")
    snapshots = write(inner, entries)
    left = objects(inner)
    assert None not in bodies(snapshots, entries)
    assert left[-1] == snapshot_prefix("a") + "strange"
    assert min(left) > ahead


def test_one_that_is_replaced_while_it_is_looked_for(store: CountingStore) -> None:
    """Whoever comes too late for a snapshot's end finds the one that has replaced it."""
    inner: ObjectStore = store
    entries = fill(inner, 3)
    snapshots, behind = write(inner, entries), store.inner
    old = objects(inner)[-1]

    def replaced(operation: str, key: str) -> None:
        if (operation, key) == ("get", old) and old in objects(behind):
            write(behind, entries)

    store.before = replaced
    assert None not in bodies(snapshots, entries)


def writes(store: CountingStore) -> Iterator[int]:
    """Kills whoever writes a snapshot before each of its requests, and gives their numbers."""
    number = 0
    while True:
        left = number

        def die(operation: str, key: str) -> None:
            nonlocal left
            if "snapshots/" in key and operation in {"put", "delete", "list"}:
                left -= 1
                if left < 0:
                    raise Died

        store.before = die
        yield number
        if left >= 0:
            return
        number += 1


def test_killed_at_each_request(store: CountingStore) -> None:
    """Wherever a writer dies, readers find the snapshot before it, or its own."""
    inner: ObjectStore = store
    behind = store.inner
    old = fill(behind, 6)
    write(behind, old)
    new = fill(behind, 9)
    deaths = 0
    for _ in writes(store):
        try:
            write(inner, new)
        except Died:
            deaths += 1
        readers = Snapshots(behind, new_nonce)
        newest = readers.newest("a")
        assert newest is not None
        found = [entry for entry in new if newest.body(entry)]
        assert found == new or set(found) == set(old)
    assert deaths > 8
    assert {key.split("/")[2] for key in objects(behind)} == {
        newest_of(behind.list("snapshots/a/"))
    }


def test_giving_up(store: CountingStore) -> None:
    """What a writer gives up goes, and nothing else."""
    inner: ObjectStore = store
    entries = fill(inner, 6)
    snapshots, holds = write(inner, entries), Holds(inner, uuid7, new_nonce)
    before = objects(inner)
    writing = snapshots.begin("a")
    writing.add([holds.named(entry.key) for entry in entries])
    assert len(objects(inner)) > len(before)
    writing.give_up()
    assert objects(inner) == before


def test_what_has_a_line_end_is_left_out(store: CountingStore) -> None:
    """A hold that can't be a line, since a store made its ETag so, is left to be fetched."""
    inner: ObjectStore = store
    entries = fill(inner, 3)
    snapshots, holds = Snapshots(inner, new_nonce), Holds(inner, uuid7, new_nonce)
    writing = snapshots.begin("a")
    odd = replace(holds.named(entries[1].key), etag='"a b"\n')
    writing.add([holds.named(entries[0].key), odd, holds.named(entries[2].key)])
    writing.finish()
    found = bodies(snapshots, [entries[0], replace(entries[1], etag=odd.etag), entries[2]])
    assert [body is None for body in found] == [False, True, False]


def test_unknown_fields_are_kept(store: CountingStore) -> None:
    """What a newer version has added to a hold is in its snapshot, too."""
    inner: ObjectStore = store
    (entry,) = fill(inner, 1)
    inner.put(entry.key, edited(inner.get(entry.key).body, later="x"))
    (entry,) = inner.list(entry.key)
    (body,) = bodies(write(inner, [entry]), [entry])
    assert body is not None
    assert Hold.decode(entry.key, body).unknown == {"later": "x"}
    assert Hold.decode(entry.key, body).created_at_ns == NOW
