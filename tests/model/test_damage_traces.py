"""What the code asks of the store about damage is what the model allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.service.scrub.brake import MarkBrake
from holdfast.service.scrub.caches import Caches
from holdfast.service.scrub.examination import Examiner
from holdfast.service.scrub.inspection import Inspector
from holdfast.service.scrub.pace import ScrubRate
from holdfast.service.scrub.report import ScrubReport
from holdfast.storage import blocks
from holdfast.storage.keys import NewName, record_key
from holdfast.storage.quarantine import Mark
from holdfast.storage.records import LostRace, Record, Records, Seen, State, new_nonce
from tests.model.damage_programs import read, scrub
from tests.model.programs import Call
from tests.model.recording import RecordingStore, losing
from tests.model.storage_model import World
from tests.model.storage_rules import CORRUPT, GONE, LIVE, MISTAKEN
from tests.model.storage_rules import Record as Modelled
from tests.model.traces import of_the_store
from tests.model.worlds import OWN, RULES, SWAP, found, turn
from tests.service.fleet import Fleet, refused, sha256
from tests.service.scrubbing import edit_data, record_of

Patch = pytest.MonkeyPatch
READS = Call(read, (RULES, "r"))
SCRUBS = Call(scrub, (RULES, "s"))
BAD = World(Modelled(LIVE, "d", "n"), frozenset({OWN}), data=frozenset({"d"}), bad=frozenset({"d"}))
MISSING = World(Modelled(LIVE, "d", "n", GONE), frozenset({OWN}))
GOOD = World(Modelled(CORRUPT, "d", "n", MISTAKEN), frozenset({OWN}), data=frozenset({"d"}))


def without_lists(op: str, kind: str) -> bool:
    """Model A's requests except listings: the caches of all holders are invalidated later."""
    return op != "list" and of_the_store(op, kind)


def told(recording: RecordingStore, world: World, call: Call) -> str | None:
    """Why the model refuses what was recorded, if it does."""
    return found(recording, world, call, without_lists)


def inspect(store: RecordingStore, digest: str) -> None:
    """A scrub's look at one record."""
    opened: Any = store
    report, clock = ScrubReport(0.0), lambda: 0.0
    Inspector(
        records=Records(opened),
        examiner=Examiner(opened, ScrubRate(0, clock, lambda _: None), report, lambda: None),
        caches=Caches(lambda: None, clock),
        brake=MarkBrake(lambda: 1, [], off=False),
        report=report,
        new_nonce=new_nonce,
    )(record_key(Digest.parse(digest)))


@pytest.fixture
async def stored(fleet: Fleet, tenant: str, fill: Callable[[str], bytes]) -> bytes:
    """A blob that a tenant holds."""
    data = fill("single")
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    return data


async def reads(fleet: Fleet, recording: RecordingStore, tenant: str, data: bytes) -> None:
    """A Read that ends with DATA_LOSS."""
    client = (await fleet.frontend(recording)).tenant(tenant)
    await refused(StatusCode.DATA_LOSS, client.read(sha256(data)))


async def test_a_reader_marks(
    fleet: Fleet, recording: RecordingStore, tenant: str, stored: bytes
) -> None:
    """A Read that meets damage marks it as the model's reader does."""
    edit_data(fleet.store, Digest.of(stored))
    await reads(fleet, recording, tenant, stored)
    assert any(made.like(SWAP) for made in recording.made)
    assert told(recording, BAD, READS) is None


@pytest.mark.parametrize("what", ["request", "reply"])
async def test_a_mark_without_a_reply(
    fleet: Fleet, recording: RecordingStore, tenant: str, stored: bytes, what: str
) -> None:
    """After a mark that gets no reply, the code looks and continues as the model does."""
    edit_data(fleet.store, Digest.of(stored))
    recording.lose = losing(SWAP, what)
    await reads(fleet, recording, tenant, stored)
    assert record_of(fleet.store, sha256(stored)).state is State.CORRUPT
    assert told(recording, BAD, READS) is None


async def test_a_scrub_marks(fleet: Fleet, recording: RecordingStore, stored: bytes) -> None:
    """A scrub's look at a record whose bytes are bad is the model's."""
    edit_data(fleet.store, Digest.of(stored))
    inspect(recording, sha256(stored))
    assert any(made.like(SWAP) for made in recording.made)
    assert told(recording, BAD, SCRUBS) is None


async def test_a_scrub_misses(fleet: Fleet, recording: RecordingStore, stored: bytes) -> None:
    """A scrub's look at a record whose bytes are gone is the model's."""
    fleet.store.delete(record_of(fleet.store, sha256(stored)).data_key)
    inspect(recording, sha256(stored))
    assert told(recording, MISSING, SCRUBS) is None


@pytest.mark.parametrize("what", ["", "request", "reply"])
async def test_a_scrub_restores(
    fleet: Fleet, recording: RecordingStore, stored: bytes, what: str
) -> None:
    """A scrub's look at a corrupt record whose bytes are good is the model's."""
    turn(fleet, stored, State.CORRUPT)
    if what:
        recording.lose = losing(SWAP, what)
    inspect(recording, sha256(stored))
    assert record_of(fleet.store, sha256(stored)).state is State.LIVE
    assert told(recording, GOOD, SCRUBS) is None


def believe_at_once(patch: Patch) -> None:
    def fetch(store: Any, record: Record, index: int, _misread: object) -> bytes:
        return blocks.fetch(store, record, index)

    patch.setattr(blocks, "fetch_surely", fetch)


def mark_without_comparing(patch: Patch) -> None:
    def mark(records: Records, seen: Seen, nonce: str) -> Seen:
        record = seen.record.turned(State.CORRUPT, nonce)
        records._store.put(record_key(record.digest), record.encode())
        return seen

    patch.setattr(Records, "mark_corrupt", mark)


def mark_what_was_read(patch: Patch) -> None:
    read_record = Records.read
    kept: dict[Digest, Seen | None] = {}

    def read_once(records: Records, digest: Digest) -> Seen | None:
        if digest not in kept:
            kept[digest] = read_record(records, digest)
        return kept[digest]

    def mark(records: Records, record: Record, _new_nonce: NewName) -> Mark:
        seen = kept[record.digest]
        assert seen
        try:
            records.mark_corrupt(seen, "n")
        except LostRace:
            return Mark.CHANGED
        return Mark.MARKED

    patch.setattr(Records, "read", read_once)
    patch.setattr("holdfast.service.store.records.mark_damaged", mark)


@pytest.mark.parametrize("breaks", [believe_at_once, mark_without_comparing, mark_what_was_read])
async def test_a_broken_reader_is_refused(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    stored: bytes,
    monkeypatch: Patch,
    breaks: Callable[[Patch], None],
) -> None:
    """A reader that marks after one look, unread, or unconditionally is refused by the model."""
    edit_data(fleet.store, Digest.of(stored))
    breaks(monkeypatch)
    await reads(fleet, recording, tenant, stored)
    assert told(recording, BAD, READS)


def restore_unread(patch: Patch) -> None:
    patch.setattr(Examiner, "damage", lambda *_: None)


def restore_without_comparing(patch: Patch) -> None:
    def restore(records: Records, seen: Seen, nonce: str) -> Seen:
        record = seen.record.turned(State.LIVE, nonce)
        records._store.put(record_key(record.digest), record.encode())
        return seen

    patch.setattr(Records, "restore", restore)


@pytest.mark.parametrize("breaks", [restore_unread, restore_without_comparing])
async def test_a_broken_restoration_is_refused(
    fleet: Fleet,
    recording: RecordingStore,
    stored: bytes,
    monkeypatch: Patch,
    breaks: Callable[[Patch], None],
) -> None:
    """A scrub that restores unread, or unconditionally, isn't what the model allows."""
    turn(fleet, stored, State.CORRUPT)
    breaks(monkeypatch)
    inspect(recording, sha256(stored))
    assert any(made.op == "put" for made in recording.made)
    assert told(recording, GOOD, SCRUBS)
