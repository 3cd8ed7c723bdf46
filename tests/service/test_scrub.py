"""The scrub: what it finds, what it marks, and how it goes on."""

from __future__ import annotations

import base64
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import Unavailable, UnsupportedFormat
from service.scrub.cursor import CURSOR, Cursor, load, save
from service.scrub.pace import Pace
from service.scrub.passes import Pass
from service.scrub.report import Action, Kind
from storage.blocks import sums_of
from storage.folder import FolderStore
from storage.holds import Hold, Holds
from storage.keys import DELETING, HOLDS, hold_prefix, record_key, uuid7
from storage.port import Fetched, ObjectStore
from storage.records import BLOCK_SIZE, Records, State, new_nonce
from storage.tenants import holding_tenants
from tests.service.conftest import Fill
from tests.service.counting import CountingStore
from tests.service.scrubbing import (
    Clock,
    commit,
    edit_record,
    flip,
    found,
    means,
    ordered,
    record_of,
    scrub,
)

MIB = 2**20
Damage = Callable[[ObjectStore, Digest], None]


def delete_data(store: ObjectStore, digest: Digest) -> None:
    store.delete(record_of(store, digest).data_key)


def truncate_data(store: ObjectStore, digest: Digest) -> None:
    key = record_of(store, digest).data_key
    store.put(key, store.get(key).body[:-1])


def lengthen_data(store: ObjectStore, digest: Digest) -> None:
    key = record_of(store, digest).data_key
    store.put(key, store.get(key).body + b"x")


def edit_data(store: ObjectStore, digest: Digest) -> None:
    flip(store, record_of(store, digest).data_key, 50_000)


def edit_sums(store: ObjectStore, digest: Digest) -> None:
    record = record_of(store, digest)
    wrong = bytes(len(record.block_sums))
    edit_record(store, digest, crc32c=base64.b64encode(wrong).decode())


def forge(store: ObjectStore, digest: Digest) -> None:
    """Other bytes of the same size, with sums that fit them."""
    record = record_of(store, digest)
    other = bytes(record.size)
    store.put(record.data_key, other)
    edit_record(store, digest, crc32c=base64.b64encode(sums_of(other)).decode())


DAMAGES = {
    Kind.DATA_MISSING: delete_data,
    Kind.DATA_SIZE: truncate_data,
    Kind.BLOCK_SUM: edit_data,
    Kind.DIGEST: forge,
}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (delete_data, Kind.DATA_MISSING),
        (truncate_data, Kind.DATA_SIZE),
        (lengthen_data, Kind.DATA_SIZE),
        (edit_data, Kind.BLOCK_SUM),
        (edit_sums, Kind.BLOCK_SUM),
        (forge, Kind.DIGEST),
    ],
)
def test_damaged_data(store: ObjectStore, fill: Fill, damage: Damage, kind: Kind) -> None:
    """Damaged, truncated and lost data is found, and its record marked corrupt, and no other."""
    sound, digest = commit(store, fill(100_000)), commit(store, fill(100_001))
    before = record_of(store, digest)
    damage(store, digest)
    report = scrub(store)
    assert [(f.kind, f.digest, f.key, f.action) for f in report.findings] == [
        (kind, str(digest), before.data_key, Action.MARKED)
    ]
    marked = record_of(store, digest)
    assert (marked.state, marked.data_key) == (State.CORRUPT, before.data_key)
    assert marked.nonce != before.nonce
    assert record_of(store, sound).state is State.LIVE
    assert not report.well


def test_all_is_well(store: ObjectStore, fill: Fill) -> None:
    """A sound store of every kind of blob is found to be sound, and left as it is."""
    bodies = [b"", b"inline", fill(100_000), fill(2 * BLOCK_SIZE), fill(2 * BLOCK_SIZE + 1)]
    for body in bodies:
        commit(store, body)
        commit(store, body, "b", "sha512")
    before = [(e.key, e.etag) for e in store.list("")]
    report = scrub(store, hold_age=0)
    assert report.well
    assert report.counts.records == 2 * len(bodies)
    assert report.counts.holds == 2 * len(bodies)
    assert report.counts.bytes == 2 * sum(map(len, bodies))
    assert [(e.key, e.etag) for e in store.list("")] == before


@pytest.mark.parametrize("at", [0, BLOCK_SIZE - 1, BLOCK_SIZE, 3 * BLOCK_SIZE])
def test_the_block_is_named(folder_store: ObjectStore, fill: Fill, at: int) -> None:
    """Wherever a flipped bit is in a blob of several blocks, its block is named."""
    digest = commit(folder_store, fill(3 * BLOCK_SIZE + 1))
    flip(folder_store, record_of(folder_store, digest).data_key, at)
    [finding] = scrub(folder_store).findings
    assert finding.kind is Kind.BLOCK_SUM
    assert f"block {at // BLOCK_SIZE} " in finding.detail


def test_parts_of_a_folder(folder_store: ObjectStore, tmp_path: Path, fill: Fill) -> None:
    """A part file that a disk has lost counts as damage of its block."""
    body = fill(2 * BLOCK_SIZE)
    digest = commit(folder_store, body)
    key = record_of(folder_store, digest).data_key
    upload = folder_store.create_upload(key)
    parts = [
        folder_store.put_part(key, upload.id, n + 1, body[n * BLOCK_SIZE : (n + 1) * BLOCK_SIZE])
        for n in range(2)
    ]
    folder_store.delete(key)
    folder_store.complete_upload(key, upload.id, parts)
    assert scrub(folder_store).well
    [second] = tmp_path.glob("store/objects/data/*~parts/00002-*")
    second.unlink()
    [finding] = scrub(folder_store).findings
    assert (finding.kind, finding.action) == (Kind.BLOCK_SUM, Action.MARKED)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"format":1}'])
def test_damaged_record(store: ObjectStore, body: bytes) -> None:
    """A record that can't be read is reported and left, as it counts as corrupt already."""
    digest = commit(store, b"hello")
    store.put(record_key(digest), body)
    [finding] = scrub(store).findings
    assert (finding.kind, finding.digest) == (Kind.RECORD_DAMAGED, str(digest))
    assert finding.action is Action.CORRUPT_ALREADY
    assert store.get(record_key(digest)).body == body


def test_edited_inline_bytes(store: ObjectStore) -> None:
    """Inline bytes that don't match their sum make a damaged record."""
    digest = commit(store, b"hello")
    edit_record(store, digest, inline=base64.b64encode(b"jello").decode())
    assert found(scrub(store)) == {str(digest): Kind.RECORD_DAMAGED}


def test_forged_inline_bytes(store: ObjectStore) -> None:
    """Inline bytes that match their sum but not their digest are quarantined."""
    digest = commit(store, b"hello")
    edit_record(
        store,
        digest,
        inline=base64.b64encode(b"jello").decode(),
        crc32c=base64.b64encode(sums_of(b"jello")).decode(),
    )
    assert found(scrub(store)) == {str(digest): Kind.DIGEST}
    assert record_of(store, digest).state is State.CORRUPT


def test_torn_record(folder_store: ObjectStore, tmp_path: Path) -> None:
    """A record of which the disk has kept less than its header counts as damaged."""
    digest = commit(folder_store, b"hello")
    (tmp_path / "store" / "objects" / record_key(digest)).write_bytes(b"holdfast1 ab")
    assert found(scrub(folder_store)) == {str(digest): Kind.RECORD_DAMAGED}
    commit(folder_store, b"hello", "b")
    assert record_of(folder_store, digest).inline == b"hello"
    assert scrub(folder_store).well


def test_torn_data(folder_store: ObjectStore, tmp_path: Path, fill: Fill) -> None:
    """Data of which the disk has kept less than its header is quarantined, and can be healed."""
    body = fill(100_000)
    digest = commit(folder_store, body)
    key = record_of(folder_store, digest).data_key
    (tmp_path / "store" / "objects" / key).write_bytes(b"")
    assert found(scrub(folder_store)) == {str(digest): Kind.DATA_SIZE}
    commit(folder_store, body)
    assert scrub(folder_store).well


def test_newer_record(folder_store: ObjectStore) -> None:
    """A record of a newer version is reported and left, and the others are looked at."""
    newer, lost = commit(folder_store, b"newer"), commit(folder_store, bytes(100_000))
    edit_record(folder_store, newer, format=9)
    body = folder_store.get(record_key(newer)).body
    delete_data(folder_store, lost)
    assert found(scrub(folder_store)) == {
        str(newer): Kind.RECORD_NEWER,
        str(lost): Kind.DATA_MISSING,
    }
    assert folder_store.get(record_key(newer)).body == body


def test_strangers(folder_store: ObjectStore) -> None:
    """Objects that aren't ours by their names are reported, and stop nothing."""
    digest = commit(folder_store, bytes(100_000))
    delete_data(folder_store, digest)
    folder_store.put("blobs/readme", b"x")
    folder_store.put("holds/a/readme", b"x")
    report = scrub(folder_store)
    assert {(f.kind, f.key) for f in report.findings if not f.digest} == {
        (Kind.NOT_A_RECORD, "blobs/readme"),
        (Kind.NOT_A_HOLD, "holds/a/readme"),
    }
    assert report.found[Kind.DATA_MISSING] == 1


def test_condemned_and_tombstones(folder_store: ObjectStore, fill: Fill) -> None:
    """A condemned record is looked at as a live one, and a tombstone isn't."""
    records = Records(folder_store)
    digests = [commit(folder_store, fill(100_000)) for _ in range(2)]
    for digest, state in zip(digests, (State.CONDEMNED, State.TOMBSTONE), strict=True):
        seen = records.read(digest)
        assert seen is not None
        records.write(seen.record.turned(state, new_nonce()), seen)
        delete_data(folder_store, digest)
    assert found(scrub(folder_store)) == {str(digests[0]): Kind.DATA_MISSING}
    assert record_of(folder_store, digests[0]).state is State.CORRUPT
    assert record_of(folder_store, digests[1]).state is State.TOMBSTONE


def test_quarantined_before(folder_store: ObjectStore, fill: Fill) -> None:
    """What was quarantined is reported by each scrub until it is healed, and written once."""
    body = fill(100_000)
    digest = commit(folder_store, body)
    edit_data(folder_store, digest)
    scrub(folder_store)
    marked = record_of(folder_store, digest)
    [finding] = scrub(folder_store).findings
    assert (finding.kind, finding.action) == (Kind.QUARANTINED, Action.CORRUPT_ALREADY)
    assert record_of(folder_store, digest) == marked
    commit(folder_store, body)
    assert scrub(folder_store).well


@pytest.mark.parametrize("kind", DAMAGES)
def test_dry_run(folder_store: ObjectStore, fill: Fill, kind: Kind) -> None:
    """A dry run finds the same, and writes nothing at all, to the caches neither."""
    digest = commit(folder_store, fill(100_000))
    DAMAGES[kind](folder_store, digest)
    counting, forgotten = CountingStore(folder_store), []
    report = scrub(counting, dry_run=True, forget=lambda: forgotten.append(1))  # type: ignore[arg-type]
    assert [(f.kind, f.action) for f in report.findings] == [(kind, Action.WOULD_MARK)]
    assert not {"put", "delete"} & set(counting.operations())
    assert forgotten == []


def test_shallow(folder_store: ObjectStore, fill: Fill) -> None:
    """A shallow scrub finds lost and truncated data without reading any."""
    lost, short, edited = (commit(folder_store, fill(100_000 + n)) for n in range(3))
    delete_data(folder_store, lost)
    truncate_data(folder_store, short)
    edit_data(folder_store, edited)
    counting = CountingStore(folder_store)
    report = scrub(counting, shallow=True)  # type: ignore[arg-type]
    assert found(report) == {str(lost): Kind.DATA_MISSING, str(short): Kind.DATA_SIZE}
    assert counting.fetched("data/") == 0
    assert found(scrub(folder_store))[str(edited)] == Kind.BLOCK_SUM


# -- looking twice


class Tampering:
    """A store that does something of the test's before or after a request."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.alter: Callable[[str, Fetched], Fetched] = lambda _, fetched: fetched
        self.before_head: Callable[[str], None] = lambda _: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        return self.alter(key, self._store.get(key, offset, length))

    def head(self, key: str) -> Any:
        self.before_head(key)
        return self._store.head(key)


def once(prefix: str) -> Callable[[str, Fetched], Fetched]:
    """Flips a bit of the first reply below a prefix."""
    left = [1]

    def alter(key: str, fetched: Fetched) -> Fetched:
        if key.startswith(prefix) and left:
            left.pop()
            return replace(fetched, body=bytes([fetched.body[0] ^ 1]) + fetched.body[1:])
        return fetched

    return alter


@pytest.mark.parametrize("prefix", ["data/", "blobs/"])
def test_flipped_on_the_way(folder_store: ObjectStore, fill: Fill, prefix: str) -> None:
    """A bit that flips on the way to the scrub is no damage: it looks twice, and counts it."""
    digest = commit(folder_store, fill(2 * BLOCK_SIZE))
    tampering = Tampering(folder_store)
    tampering.alter = once(prefix)
    report = scrub(tampering)  # type: ignore[arg-type]
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
    report = scrub(tampering)  # type: ignore[arg-type]
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
    assert scrub(tampering).well  # type: ignore[arg-type]
    record = record_of(folder_store, digest)
    assert record.state is State.LIVE
    assert record.data_key != old


@pytest.mark.parametrize("state", [State.CONDEMNED, State.TOMBSTONE, State.LIVE])
def test_never_over_a_newer_record(folder_store: ObjectStore, fill: Fill, state: State) -> None:
    """A record that is written between the last look and the mark isn't written over."""
    digest = commit(folder_store, fill(100_000))
    delete_data(folder_store, digest)
    records, counting = Records(folder_store), CountingStore(folder_store)
    newer = []

    def interfere(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/") and not newer:
            seen = records.read(digest)
            assert seen is not None
            newer.append(records.write(seen.record.turned(state, new_nonce()), seen))

    counting.before = interfere
    report = scrub(counting)  # type: ignore[arg-type]
    record = record_of(folder_store, digest)
    if state is State.TOMBSTONE:
        assert report.well
        assert record == newer[0].record
    else:  # it was looked at again, and its data is gone all the same
        assert found(report) == {str(digest): Kind.DATA_MISSING}
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
    [finding] = scrub(counting).findings  # type: ignore[arg-type]
    assert finding.action is Action.LEFT
    assert record_of(folder_store, digest).state is State.LIVE


# -- holds


def lone_hold(store: ObjectStore, body: bytes, tenant: str) -> tuple[Digest, str]:
    digest = Digest.of(body)
    holds = Holds(store, uuid7, new_nonce)
    return digest, holds.make(tenant, Hold(digest, len(body), 1, 1, {}, 0, new_nonce()))


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
        str(absent): Kind.HOLD_WITHOUT_CONTENT,
        str(buried): Kind.HOLD_WITHOUT_CONTENT,
    }
    assert key in {finding.key for finding in report.findings}
    assert {finding.action for finding in report.findings} == {Action.REPORTED}


def test_holds_under_deletion(folder_store: ObjectStore) -> None:
    """A hold with a mark beside it is being given up, and not reported."""
    _, key = lone_hold(folder_store, b"absent", "a")
    folder_store.put(key + DELETING, b"")
    assert scrub(folder_store, hold_age=-60).well


def test_damaged_holds(folder_store: ObjectStore) -> None:
    """Holds that can't be read, or are of a newer version, are reported."""
    damaged, newer = commit(folder_store, b"one"), commit(folder_store, b"two")
    for digest, body in ((damaged, b"{"), (newer, b'{"format":9}')):
        [entry] = folder_store.list(hold_prefix("a", digest))
        folder_store.put(entry.key, body)
    assert found(scrub(folder_store)) == {
        str(damaged): Kind.HOLD_DAMAGED,
        str(newer): Kind.HOLD_NEWER,
    }


def test_many_holds_on_one_digest(folder_store: ObjectStore) -> None:
    """A digest that many hold in vain is one finding, and its record is read once for all."""
    for n in range(20):
        lone_hold(folder_store, b"absent", f"t{n}")
    counting = CountingStore(folder_store)
    assert len(scrub(counting, hold_age=-60).findings) == 1  # type: ignore[arg-type]
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


# -- how it goes on


def stopping_after(store: ObjectStore, count: int) -> tuple[Any, CountingStore]:
    """Means that stop the scrub when so many records were read."""
    counting = CountingStore(store)
    with_stop = means(counting)  # type: ignore[arg-type]
    left = [count]

    def stop(name: str, key: str) -> None:
        if name == "head" and key.startswith("data/"):
            left[0] -= 1
            if not left[0]:
                with_stop.stop.set()

    counting.before = stop
    return with_stop, counting


def test_resumes(folder_store: ObjectStore, fill: Fill) -> None:
    """A scrub that was stopped goes on behind the last record that it was done with."""
    digests = sorted(commit(folder_store, fill(100_000)) for _ in range(8))
    for digest in digests:
        delete_data(folder_store, digest)
    with_stop, _ = stopping_after(folder_store, 9)
    first = Pass(ordered(workers=1), with_stop).run()
    assert first.stopped
    cursor = load(folder_store)
    assert cursor is not None
    assert cursor.after in digests[2:-1]
    second = scrub(folder_store)
    assert second.resumed_after == str(cursor.after)
    assert second.started_at == first.started_at
    assert second.counts.records >= len(digests)
    rest = digests[digests.index(cursor.after) + 1 :]
    assert {finding.digest for finding in second.findings} == set(map(str, rest))
    assert not second.stopped
    assert load(folder_store) is None
    assert list(folder_store.list("scrub/")) == []


def test_findings_of_earlier_runs_count(folder_store: ObjectStore, fill: Fill) -> None:
    """A pass that goes on isn't well if its earlier part wasn't."""
    commit(folder_store, fill(100_000))
    save(folder_store, Cursor(1.0, counts={"records": 7}, found={"block_sum": 2}))
    report = scrub(folder_store)
    assert not report.well
    assert report.counts.records == 8
    assert report.untold == 2


def test_stopped_in_the_holds(folder_store: ObjectStore) -> None:
    """A scrub that was stopped among the holds begins with them again, and counts them once."""
    for n in range(5):
        lone_hold(folder_store, b"absent%d" % n, "a")
    counting = CountingStore(folder_store)
    with_stop = means(counting)  # type: ignore[arg-type]
    counting.after = lambda name, key: (
        with_stop.stop.set() if name == "head" and key.startswith(HOLDS) else None
    )
    assert Pass(ordered(hold_age=-60, workers=1), with_stop).run().stopped
    second = scrub(folder_store, hold_age=-60)
    assert second.counts.holds == 5
    assert second.found == {Kind.HOLD_WITHOUT_CONTENT: 5}


def test_a_crash_goes_on_from_the_cursor(folder_store: ObjectStore, fill: Fill) -> None:
    """The cursor is saved while a pass runs, so that a crash costs little."""
    digests = sorted(commit(folder_store, fill(100_000)) for _ in range(6))
    clock, counting = Clock(), CountingStore(folder_store)

    def die(name: str, key: str) -> None:
        clock.time += 20
        if name == "head" and key == record_of(folder_store, digests[4]).data_key:
            raise SystemError

    counting.before = die
    with pytest.raises(SystemError):
        scrub(counting, clock=clock, workers=1)  # type: ignore[arg-type]
    cursor = load(folder_store)
    assert cursor is not None
    assert cursor.after in digests[1:4]


def test_store_away(folder_store: ObjectStore, fill: Fill) -> None:
    """A store that fails ends the run with its error, and the next run goes on."""
    digests = sorted(commit(folder_store, fill(100_000)) for _ in range(4))
    counting = CountingStore(folder_store)

    def fail(name: str, key: str) -> None:
        if name == "head" and key == record_of(folder_store, digests[3]).data_key:
            raise Unavailable("away")

    counting.before = fail
    with pytest.raises(Unavailable):
        scrub(counting, workers=1)  # type: ignore[arg-type]
    cursor = load(folder_store)
    assert cursor is not None
    assert cursor.after is not None
    assert scrub(folder_store).well


def test_from(folder_store: ObjectStore, fill: Fill) -> None:
    """With a digest to begin at, that one and all after it are read, whatever the cursor says."""
    digests = sorted(commit(folder_store, fill(1000)) for _ in range(6))
    save(folder_store, Cursor(1.0, after=digests[5]))
    report = scrub(folder_store, begin=digests[2])
    assert report.counts.records == 4
    assert report.started_at != 1.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"format":1}',
        Cursor(1.0).encode().replace(b'"after":""', b'"after":"x"'),
        Cursor(1.0).encode().replace(b"1.0", b"NaN"),
        Cursor(1.0).encode().replace(b'"found":{}', b'"found":{"x":-1}'),
        Cursor(1.0).encode().replace(b'"phase":"records"', b'"phase":"x"'),
    ],
)
def test_damaged_cursor(folder_store: ObjectStore, body: bytes) -> None:
    """A damaged cursor makes the scrub begin at the beginning."""
    commit(folder_store, b"hello")
    folder_store.put(CURSOR, body)
    assert scrub(folder_store).counts.records == 1


def test_newer_cursor(folder_store: ObjectStore) -> None:
    """The cursor of a newer version is refused."""
    folder_store.put(CURSOR, b'{"format":9}')
    with pytest.raises(UnsupportedFormat):
        scrub(folder_store)


def test_a_shallow_cursor(folder_store: ObjectStore) -> None:
    """A scrub that reads doesn't go on where one that didn't read has stopped."""
    digest = commit(folder_store, b"hello")
    save(folder_store, Cursor(1.0, after=digest, shallow=True))
    assert scrub(folder_store).counts.records == 1


def test_two_at_once(folder_store: ObjectStore, fill: Fill) -> None:
    """A scrub that another one overtakes in the middle marks the same, once, and nothing else."""
    bodies = [fill(100_000 + n) for n in range(6)]
    digests = [commit(folder_store, body) for body in bodies]
    for digest in digests[:3]:
        edit_data(folder_store, digest)
    counting, other = CountingStore(folder_store), []

    def overtake(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/") and not other:
            other.append(None)
            other[0] = scrub(folder_store)

    counting.before = overtake
    one = scrub(counting, workers=1)  # type: ignore[arg-type]
    assert {f.digest for f in one.findings} == {str(digest) for digest in digests[:3]}
    assert {f.digest for f in other[0].findings} == {str(digest) for digest in digests[:3]}
    states = [record_of(folder_store, digest).state for digest in digests]
    assert states == [State.CORRUPT] * 3 + [State.LIVE] * 3


# -- how fast


def test_pace() -> None:
    """So many bytes per second are let through, the first at once, and idle time isn't saved up."""
    clock = Clock()
    pace = Pace(100, clock, clock.wait)
    for _ in range(3):
        pace.take(50)
    assert clock.waits == [0.5, 0.5]
    clock.time += 1000
    for _ in range(2):
        pace.take(50)
    assert clock.waits == [0.5, 0.5, 0.5]
    Pace(0, clock, clock.wait).take(10**12)
    assert len(clock.waits) == 3


def test_rate(folder_store: ObjectStore, fill: Fill) -> None:
    """The scrub reads at the rate that it was given, and reports it."""
    commit(folder_store, fill(4 * BLOCK_SIZE))
    clock = Clock()
    report = scrub(folder_store, clock=clock, rate=BLOCK_SIZE, workers=1)
    assert clock.waits == [1.0, 1.0, 1.0]
    assert report.seconds == 3.0
    assert report.rate == 4 * BLOCK_SIZE / 3


# -- caches


def test_caches_are_told_after_the_marks(folder_store: ObjectStore, fill: Fill) -> None:
    """What frontends remember is made to be forgotten once all marks stand, and only then."""
    digests = [commit(folder_store, fill(100_000)) for _ in range(3)]
    assert scrub(folder_store, forget=pytest.fail).well
    for digest in digests:
        delete_data(folder_store, digest)
    states: list[set[State]] = []
    report = scrub(
        folder_store,
        forget=lambda: states.append({record_of(folder_store, digest).state for digest in digests}),
    )
    assert states == [{State.CORRUPT}]
    assert not report.caches_late


def test_caches_are_told_in_time(folder_store: ObjectStore, fill: Fill) -> None:
    """While a large blob is read, caches are told of earlier marks within half a minute."""
    small = commit(folder_store, fill(100_000))
    delete_data(folder_store, small)
    for n in range(100):  # until one sorts after the small one
        large = fill(12 * BLOCK_SIZE + n)
        if Digest.of(large) > small:
            commit(folder_store, large)
            break
    clock, told = Clock(), []
    scrub(
        folder_store,
        forget=lambda: told.append(clock.time),
        clock=clock,
        rate=BLOCK_SIZE / 10,
        workers=1,
    )
    assert len(told) == 1
    assert told[0] - 1000 <= 40
    assert clock.time - 1000 >= 100


def test_redis_away(folder_store: ObjectStore, fill: Fill) -> None:
    """With Redis away a scrub quarantines all the same and says that caches are late."""
    digest = commit(folder_store, fill(100_000))
    delete_data(folder_store, digest)

    def away() -> None:
        raise Unavailable("Redis is away")

    report = scrub(folder_store, forget=away)
    assert report.caches_late
    assert record_of(folder_store, digest).state is State.CORRUPT
    told: list[int] = []
    assert not scrub(folder_store, forget=lambda: told.append(1)).caches_late
    assert told == [1]


def test_caches_after_a_stop(folder_store: ObjectStore, fill: Fill) -> None:
    """A run that stops with caches untold leaves that to the next one."""
    save(folder_store, Cursor(1.0, caches_late=True))
    told: list[int] = []
    commit(folder_store, fill(1000))
    assert scrub(folder_store, forget=lambda: told.append(1)).well
    assert told == [1]


# -- any damage


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    source = random.Random(7)  # noqa: S311 -- content, not a secret
    return [source.randbytes(size) for size in (1, 500, 70_000, 70_001, 100_000, 90_000)]


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


KINDS = ["delete", "truncate", "flip data", "flip record"]


@settings(max_examples=60, deadline=None)
@given(
    wounds=st.dictionaries(
        st.integers(0, 5),
        st.tuples(st.sampled_from(KINDS), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
        max_size=4,
    )
)
def test_any_damage(
    bodies: list[bytes], folders: Path, wounds: dict[int, tuple[str, float, int]]
) -> None:
    """Whatever bits flip or bytes vanish anywhere, just the damaged digests are found."""
    store = FolderStore(Path(tempfile.mkdtemp(dir=folders)))
    store.check_access()
    digests = [commit(store, body) for body in bodies]
    damaged = {
        str(digests[index])
        for index, wound in wounds.items()
        if wounded(store, digests[index], *wound)
    }
    report = scrub(store)
    assert set(found(report)) == damaged
    for digest in digests:
        record = record_of(store, digest)
        assert record.readable == (str(digest) not in damaged)


def wounded(store: ObjectStore, digest: Digest, kind: str, where: float, bit: int) -> bool:
    """Does some damage to a blob; returns whether it is any."""
    record = record_of(store, digest)
    key = record_key(digest) if record.inline is not None else record.data_key
    if kind == "flip record":
        key = record_key(digest)
    body = bytearray(store.get(key).body)
    at = int(where * len(body))
    if kind == "delete" and record.inline is None:
        store.delete(key)
    elif kind in {"delete", "truncate"}:
        store.put(key, bytes(body[:at]))
    else:
        body[at] ^= 1 << bit
        store.put(key, bytes(body))
    return damaging(store, digest, record)


def damaging(store: ObjectStore, digest: Digest, before: Any) -> bool:
    """Whether the bytes aren't to be had any more by what the record says."""
    try:
        after = Records(store).read(digest)
    except UnsupportedFormat:
        return True
    if after is None or not after.record.readable:
        return True
    record = after.record
    if record.inline is not None:
        return Digest.of(record.inline) != digest
    try:
        body = store.get(record.data_key).body
    except Exception:  # noqa: BLE001 -- whatever is wrong with it
        return True
    del before
    return (
        Digest.of(body) != digest or sums_of(body) != record.block_sums or len(body) != record.size
    )
