"""What is said of a blob, in each state of the storage format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.digests import Digest
from holdfast.errors import PermissionDenied
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.report import CollectionReport
from holdfast.service.explain import holders
from holdfast.service.explain.facts import BlobExplanation
from holdfast.service.explain.rehearsal import SAYS
from holdfast.service.explain.run import Question, explainer_of
from holdfast.service.settings import Settings
from holdfast.storage import documents
from holdfast.storage.keys import COLLECTOR, DATA, DELETING, HOLDS, RECORDS, RETAINED, record_key
from holdfast.storage.read_only import ReadOnlyStore
from holdfast.storage.records import State
from holdfast.values import Labels
from tests.service.collector.world import World
from tests.service.explain.conftest import Explain
from tests.stores.counting import CountingStore
from tests.stores.memory import MemoryStore

BODY = b"some bytes of a layer"
DIGEST = Digest.of(BODY)
Scene = Callable[[World], None]
DAY = 24 * 3600.0
HOUR = 3600.0
LATER_NS = 4 * 10**18


def fates(found: BlobExplanation) -> set[tuple[str, str]]:
    """What a collection would do, by kind and fate."""
    return {(one.kind, one.fate) for one in found.gc}


def given_up(world: World) -> None:
    """A blob that a tenant has held, and a run of the collector by the default ages."""
    world.blobs.drop("node-1", world.commit("node-1", BODY))
    collect(world)


def collect(world: World, *, dry: bool = False) -> CollectionReport:
    """A run of the collector over the whole world, by the default ages."""
    return world.beside().collect(ages=Ages.of(Settings(), 0.0), dry=dry)


def held(world: World) -> None:
    """Held by two tenants; its data is old."""
    world.commit("node-1", BODY)
    world.adopt("node-2", DIGEST)
    world.grow_old()


def unheld_young(world: World) -> None:
    """Given up before any run has seen it."""
    world.blobs.drop("node-1", world.commit("node-1", BODY))


def retained(world: World) -> None:
    """Given up, and a run has made its marker."""
    given_up(world)


def unheld_old(world: World) -> None:
    """Given up longer ago than anything is retained."""
    given_up(world)
    world.grow_old(RETAINED, RECORDS, DATA)


def condemned_now(world: World) -> None:
    """A run has condemned it just now."""
    unheld_old(world)
    collect(world)


def condemned(world: World) -> None:
    """A run has condemned it long ago."""
    condemned_now(world)
    world.grow_old(RECORDS)


def condemned_and_held(world: World) -> None:
    """It is condemned, and a tenant has a hold that the run didn't see."""
    condemned(world)
    world.blobs.make_hold("node-3", world.blobs.new_hold(DIGEST, len(BODY), 1, {}))


def buried(world: World) -> None:
    """It is a tombstone since a moment."""
    condemned(world)
    collect(world)


def buried_long_ago(world: World) -> None:
    """Its tombstone is old, and a run has found its data unnamed."""
    buried(world)
    world.grow_old(RECORDS)
    collect(world)


def doomed(world: World) -> None:
    """Its data was doomed more than a day ago."""
    buried_long_ago(world)
    world.grow_old(COLLECTOR, seconds=2 * DAY)


def corrupt(world: World) -> None:
    """Its bytes failed their check, and it is held."""
    world.commit("node-1", BODY)
    world.turn(DIGEST, State.CORRUPT)


def corrupt_and_unheld(world: World) -> None:
    """Its bytes failed their check, and nobody holds it."""
    unheld_young(world)
    world.turn(DIGEST, State.CORRUPT)
    world.grow_old()


def damaged(world: World) -> None:
    """A bit of its record has flipped."""
    world.commit("node-1", BODY)
    key = record_key(DIGEST)
    body = bytearray(world.memory.get(key).body)
    body[10] ^= 1
    world.memory.put(key, bytes(body))


def hold_alone(world: World) -> None:
    """A tenant has a hold, and there is no record: its commit has died in between."""
    world.blobs.make_hold("node-1", world.blobs.new_hold(DIGEST, len(BODY), 1, {}))


def delete_broke_off(world: World) -> None:
    """A Delete has marked the only hold, and died."""
    world.commit("node-1", BODY)
    [key] = world.keys(HOLDS)
    world.memory.put(key + DELETING, b"")
    world.grow_old(HOLDS)


def no_data(world: World) -> None:
    """Its data object is gone."""
    world.commit("node-1", BODY)
    world.memory.delete(world.data_of(DIGEST))


def dropped(world: World) -> None:
    """An operator has asked not to retain it."""
    given_up(world)
    world.memory.put(f"{RETAINED}sha256/{DIGEST.hex}/{len(BODY)}.dropped", b"")


SCENES: dict[Scene, tuple[str, set[tuple[str, str]]]] = {
    held: ("is live, held by 2 tenants", {("records", "held"), ("data", "named")}),
    unheld_young: ("is live, not held", {("records", "retained"), ("markers", "made")}),
    retained: ("is live, not held by anybody, retained", {("records", "retained")}),
    unheld_old: ("is live, not held", {("records", "condemned")}),
    condemned_now: ("is condemned", {("records", "young")}),
    condemned: ("is condemned", {("records", "buried")}),
    condemned_and_held: ("is condemned", {("records", "held"), ("records", "pardoned")}),
    buried: ("was buried", {("records", "tombstone"), ("data", "read_grace")}),
    buried_long_ago: ("was buried", {("records", "tombstone"), ("data", "doomed")}),
    doomed: ("was buried", {("records", "tombstone"), ("data", "deleted")}),
    corrupt: ("is corrupt", {("records", "held"), ("holds", "without_content")}),
    corrupt_and_unheld: ("is corrupt", {("records", "corrupt"), ("records", "buried")}),
    damaged: ("has a record that is damaged", {("brake", "unreadable")}),
    hold_alone: ("has no record, held by 1 tenant", {("holds", "without_content")}),
    delete_broke_off: ("is live, held by 1", {("holds", "marked"), ("holds", "taken_back")}),
    no_data: ("is live, but its data is missing", {("records", "held")}),
    dropped: ("is live, not held by anybody, retained", {("records", "condemned")}),
}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_each_state_is_told(world: World, explain: Explain, scene: Scene) -> None:
    """Each state is summed up, and what a collection would do with it is said."""
    scene(world)
    found = await explain(DIGEST)
    said, would = SCENES[scene]
    assert said in found.summary
    assert would <= fates(found)
    assert [why for why in found.missing if why.startswith("Redis")] == []


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_collection_does_what_was_said(
    world: World, explain: Explain, scene: Scene
) -> None:
    """A rehearsed run over the whole store, in which there is more, says the same of the blob."""
    scene(world)
    alone = collect(world, dry=True)
    for number in range(5):
        world.commit("other", b"other %d" % number)
    found = await explain(DIGEST)
    whole = {(kind.value, fate.value) for kind, fate, _ in alone.rows() if (kind, fate) in SAYS}
    if found.data is None:  # which data a record names that can't be read isn't known
        whole = {pair for pair in whole if pair[0] != "data"}
    assert {pair for pair in fates(found) if pair[0] not in {"brake", "error"}} == whole
    assert [one.brake.value for one in alone.brakes] == [
        one.fate for one in found.gc if one.kind == "brake"
    ]


async def test_facts(world: World, explain: Explain) -> None:
    """A record, its data, its markers and its holders are told with their times and sizes."""
    held(world)
    world.holds.relabel(world.holds.find("node-2", DIGEST), lambda _: {"a": "b"}, LATER_NS)
    found = await explain(DIGEST)
    assert found.record is not None
    assert (found.record.state, found.record.size, found.record.inline) == ("live", 21, False)
    assert found.data is not None
    assert (found.data.there, found.data.size, found.data.expected) == (True, 21, 21)
    first, second = found.holders.named
    assert (first.tenant, first.labels) == ("node-1", {})
    assert (second.tenant, second.labels) == ("node-2", Labels(a="b"))
    assert second.updated_at == LATER_NS / 1e9


async def test_a_hold_that_is_being_deleted(world: World, explain: Explain) -> None:
    """A hold with a mark beside it, and the mark, don't count for their tenant, and are told."""
    delete_broke_off(world)
    holders = (await explain(DIGEST)).holders
    assert (holders.tenants, holders.holds, holders.deleting) == (1, 0, 2)
    assert holders.named[0].error == "all are being deleted"


async def test_retention_is_told(world: World, explain: Explain) -> None:
    """A marker says since when nobody holds a blob, and until when it is retained."""
    retained(world)
    [marker] = (await explain(DIGEST)).markers
    assert marker.until - marker.since == 7 * DAY
    assert not marker.dropped


async def test_a_bound_is_said(world: World, explain: Explain) -> None:
    """Where bytes bound what is retained, other blobs decide too, and that is said."""
    retained(world)
    found = await explain(DIGEST, retain_bytes=2**20)
    assert ("records", "bounded") in fates(found)
    assert ("records", "bounded") not in fates(await explain(DIGEST))
    assert ("records", "condemned") in fates(await explain(DIGEST, retain_bytes=len(BODY) - 1))


async def test_doom_is_told(world: World, explain: Explain) -> None:
    """A doomed object is told with the time since which it is doomed."""
    doomed(world)
    found = await explain(DIGEST)
    assert found.data is not None
    assert found.data.doomed_since == pytest.approx(world.memory.now() - 2 * DAY, abs=HOUR)


async def test_a_large_blob_brakes_nothing(world: World, explain: Explain) -> None:
    """What a run would delete isn't compared with the whole of the one blob that is looked at."""
    record = world.put_data(BODY)
    world.memory.put(COLLECTOR + "census", b"of other blobs, and not looked at")
    world.publish("node-1", record, world.blobs.make_hold("node-1", world.new_hold(record)))
    found = await explain(DIGEST)
    assert all(one.kind not in {"brake", "error"} for one in found.gc)


async def test_many_holders_are_counted(world: World, explain: Explain) -> None:
    """Of many holders the first are named, and all are counted."""
    world.commit("node-000", BODY)
    for number in range(1, 150):
        world.adopt(f"node-{number:03}", DIGEST)
    found = await explain(DIGEST, most=3)
    assert (found.holders.tenants, found.holders.holds) == (150, 150)
    assert [one.tenant for one in found.holders.named] == ["node-000", "node-001", "node-002"]
    counted = CountingStore(world.memory)
    await explain(DIGEST, store=counted, most=3)
    assert counted.operations(HOLDS).count("get") == 3


async def test_many_holds_of_one_tenant(
    world: World, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of one tenant's holds is counted, and not read one by one."""
    monkeypatch.setattr(holders, "MOST_READ", 2)
    world.commit("node-1", BODY)
    for _ in range(2):
        world.adopt("node-1", DIGEST)
    counted = CountingStore(world.memory)
    found = await explain(DIGEST, store=counted)
    [holder] = found.holders.named
    assert (holder.holds, holder.labels) == (3, None)
    assert "too many" in holder.error
    assert "get" not in counted.operations(HOLDS)


async def test_one_tenant_is_asked_about(world: World, explain: Explain) -> None:
    """Of single tenants only their holds are told; what a collection would do isn't."""
    held(world)
    found = await explain(DIGEST, tenants=["node-2"])
    assert [one.tenant for one in found.holders.named] == ["node-2"]
    assert found.gc == ()
    found = await explain(DIGEST, tenants=["node-9"])
    assert "not held by these tenants" in found.summary


async def test_a_newer_version_s_record_is_told(world: World, explain: Explain) -> None:
    """A record that only a newer version can read is told as such."""
    world.commit("node-1", BODY)
    world.memory.put(record_key(DIGEST), documents.encode({"format": 99}))
    found = await explain(DIGEST)
    assert found.record is not None
    assert found.record.state == "unsupported"
    assert ("records", "unreadable") in fates(found)


async def test_what_is_unknown_is_said(world: World, explain: Explain) -> None:
    """A digest of which there is nothing isn't known."""
    world.commit("node-1", BODY)
    found = await explain(Digest.of(b"never seen"))
    assert not found.known
    assert "isn't known" in found.summary
    assert found.gc == ()


async def test_without_redis_the_store_is_told(world: World, tmp_path: Path) -> None:
    """If Redis can't be asked, the rest is told, and that it lacks the writers."""
    held(world)
    settings = Settings(data_dir=tmp_path)
    async with explainer_of(settings, world.memory, "redis://127.0.0.1:1/0") as opened:
        found = await opened.blob(DIGEST, Question(None, 5))
    assert found.holders.tenants == 2
    [why] = found.missing
    assert why.startswith("Redis can't be asked")


def test_an_explanation_can_t_write() -> None:
    """The store that is looked at refuses each write."""
    store = ReadOnlyStore(MemoryStore())
    for write in (
        lambda: store.put("a", b""),
        lambda: store.delete("a"),
        lambda: store.delete_if("a", "x"),
        lambda: store.create_upload("a"),
        lambda: store.put_part("a", "u", 1, b""),
        lambda: store.complete_upload("a", "u", []),
        lambda: store.abort_upload("a", "u"),
        lambda: store.refuses_changed("a"),
    ):
        with pytest.raises(PermissionDenied):
            write()
