"""The scrub: what it finds, and what it marks."""

from __future__ import annotations

import base64
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import UnsupportedFormat
from holdfast.service.scrub.report import DamageKind, ScrubAction
from holdfast.storage.blocks import sums_of
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import record_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import BLOCK_SIZE, FORMAT, Records, State, new_nonce
from tests.service.conftest import Fill
from tests.service.scrubbing import (
    Damage,
    commit,
    delete_data,
    edit_data,
    edit_record,
    edit_sums,
    flip,
    forge,
    found,
    lengthen_data,
    record_of,
    scrub,
    truncate_data,
)
from tests.storage.edited import newer
from tests.stores.counting import CountingStore

DAMAGES = {
    DamageKind.DATA_MISSING: delete_data,
    DamageKind.DATA_SIZE: truncate_data,
    DamageKind.BLOCK_SUM: edit_data,
    DamageKind.DIGEST: forge,
}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (delete_data, DamageKind.DATA_MISSING),
        (truncate_data, DamageKind.DATA_SIZE),
        (lengthen_data, DamageKind.DATA_SIZE),
        (edit_data, DamageKind.BLOCK_SUM),
        (edit_sums, DamageKind.BLOCK_SUM),
        (forge, DamageKind.DIGEST),
    ],
)
def test_damaged_data(store: ObjectStore, fill: Fill, damage: Damage, kind: DamageKind) -> None:
    """Damaged, truncated and lost data is found, and its record marked corrupt, and no other."""
    sound, digest = commit(store, fill(100_000)), commit(store, fill(100_001))
    before = record_of(store, digest)
    damage(store, digest)
    report = scrub(store)
    assert [(f.kind, f.digest, f.key, f.action) for f in report.findings] == [
        (kind, str(digest), before.data_key, ScrubAction.MARKED)
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
    assert finding.kind is DamageKind.BLOCK_SUM
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
    assert (finding.kind, finding.action) == (DamageKind.BLOCK_SUM, ScrubAction.MARKED)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", newer(FORMAT)])
def test_damaged_record(store: ObjectStore, body: bytes) -> None:
    """A record that can't be read is reported and left, as it counts as corrupt already."""
    digest = commit(store, b"hello")
    store.put(record_key(digest), body)
    [finding] = scrub(store).findings
    assert (finding.kind, finding.digest) == (DamageKind.RECORD_DAMAGED, str(digest))
    assert finding.action is ScrubAction.CORRUPT_ALREADY
    assert store.get(record_key(digest)).body == body


def test_edited_inline_bytes(store: ObjectStore) -> None:
    """Inline bytes that don't match their sum make a damaged record."""
    digest = commit(store, b"hello")
    edit_record(store, digest, inline=base64.b64encode(b"jello").decode())
    assert found(scrub(store)) == {str(digest): DamageKind.RECORD_DAMAGED}


def test_forged_inline_bytes(store: ObjectStore) -> None:
    """Inline bytes that match their sum but not their digest are quarantined."""
    digest = commit(store, b"hello")
    edit_record(
        store,
        digest,
        inline=base64.b64encode(b"jello").decode(),
        crc32c=base64.b64encode(sums_of(b"jello")).decode(),
    )
    assert found(scrub(store)) == {str(digest): DamageKind.DIGEST}
    assert record_of(store, digest).state is State.CORRUPT


def test_torn_record(folder_store: ObjectStore, tmp_path: Path) -> None:
    """A record of which the disk has kept less than its header counts as damaged."""
    digest = commit(folder_store, b"hello")
    (tmp_path / "store" / "objects" / record_key(digest)).write_bytes(b"holdfast1 ab")
    assert found(scrub(folder_store)) == {str(digest): DamageKind.RECORD_DAMAGED}
    commit(folder_store, b"hello", "b")
    assert record_of(folder_store, digest).inline == b"hello"
    assert scrub(folder_store).well


def test_torn_data(folder_store: ObjectStore, tmp_path: Path, fill: Fill) -> None:
    """Data of which the disk has kept less than its header is quarantined, and can be healed."""
    body = fill(100_000)
    digest = commit(folder_store, body)
    key = record_of(folder_store, digest).data_key
    (tmp_path / "store" / "objects" / key).write_bytes(b"")
    assert found(scrub(folder_store)) == {str(digest): DamageKind.DATA_SIZE}
    commit(folder_store, body)
    assert scrub(folder_store).well


def test_newer_record(folder_store: ObjectStore) -> None:
    """A record of a newer version is reported and left, and the others are looked at."""
    newer, lost = commit(folder_store, b"newer"), commit(folder_store, bytes(100_000))
    edit_record(folder_store, newer, format=9)
    body = folder_store.get(record_key(newer)).body
    delete_data(folder_store, lost)
    assert found(scrub(folder_store)) == {
        str(newer): DamageKind.RECORD_NEWER,
        str(lost): DamageKind.DATA_MISSING,
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
        (DamageKind.NOT_A_RECORD, "blobs/readme"),
        (DamageKind.NOT_A_HOLD, "holds/a/readme"),
    }
    assert report.found[DamageKind.DATA_MISSING] == 1


def test_condemned_and_tombstones(folder_store: ObjectStore, fill: Fill) -> None:
    """A condemned record is looked at as a live one, and a tombstone isn't."""
    records = Records(folder_store)
    digests = [commit(folder_store, fill(100_000)) for _ in range(2)]
    for digest, state in zip(digests, (State.CONDEMNED, State.TOMBSTONE), strict=True):
        seen = records.read(digest)
        assert seen is not None
        records.write(seen.record.turned(state, new_nonce()), seen)
        delete_data(folder_store, digest)
    assert found(scrub(folder_store)) == {str(digests[0]): DamageKind.DATA_MISSING}
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
    assert (finding.kind, finding.action) == (DamageKind.QUARANTINED, ScrubAction.CORRUPT_ALREADY)
    assert record_of(folder_store, digest) == marked
    commit(folder_store, body)
    assert scrub(folder_store).well


@pytest.mark.parametrize("kind", DAMAGES)
def test_dry_run(folder_store: ObjectStore, fill: Fill, kind: DamageKind) -> None:
    """A dry run finds the same, and writes nothing at all, to the caches neither."""
    digest = commit(folder_store, fill(100_000))
    DAMAGES[kind](folder_store, digest)
    counting, forgotten = CountingStore(folder_store), []
    report = scrub(counting, dry_run=True, forget=lambda: forgotten.append(1))
    assert [(f.kind, f.action) for f in report.findings] == [(kind, ScrubAction.WOULD_MARK)]
    assert not {"put", "delete"} & set(counting.operations())
    assert forgotten == []


def test_shallow(folder_store: ObjectStore, fill: Fill) -> None:
    """A shallow scrub finds lost and truncated data without reading any."""
    lost, short, edited = (commit(folder_store, fill(100_000 + n)) for n in range(3))
    delete_data(folder_store, lost)
    truncate_data(folder_store, short)
    edit_data(folder_store, edited)
    counting = CountingStore(folder_store)
    report = scrub(counting, shallow=True)
    assert found(report) == {str(lost): DamageKind.DATA_MISSING, str(short): DamageKind.DATA_SIZE}
    assert counting.fetched("data/") == 0
    assert found(scrub(folder_store))[str(edited)] == DamageKind.BLOCK_SUM


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
