"""What deletes, the cache and collectors ask, and in which order, is what the models allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Holds
from holdfast.storage.keys import DELETING, hold_digest, uuid7
from holdfast.storage.records import State, new_nonce
from tests.model.cache_model import CacheModel, CacheRules, CacheWorld, Redis
from tests.model.cache_model import delete as delete_announced
from tests.model.cache_model import held as held_cached
from tests.model.cache_model import info as info_cached
from tests.model.collector_programs import sweep_store
from tests.model.programs import Call, Program
from tests.model.protocol import Faults
from tests.model.recording import Made, RecordingStore, losing
from tests.model.storage_model import OLD, World
from tests.model.storage_programs import delete
from tests.model.storage_rules import AGED, CONDEMNED, FRESH, LIVE, TOMBSTONE, Record
from tests.model.traces import of_the_cache, refusal
from tests.model.worlds import HOLD, OTHER, OWN, RULES, SWAP, found, live
from tests.service.collector import world as collected
from tests.service.fleet import Fleet, refused, sha256

CACHE = CacheRules()
SECOND = ("a", "0second")
REMOVAL = Made("delete", "record", "IfMatch")
MARKING = Made("put", "marker", "IfAbsent")
UNMARKING = Made("delete", "marker")
Fill = Callable[[str], bytes]


def cached(recording: RecordingStore, world: CacheWorld, program: Callable[..., Program]) -> str:
    """Why model B refuses what was recorded; "" if it doesn't."""
    model = CacheModel(CACHE, [], Faults(), world)
    call = Call(program, (CACHE, "1"))
    assert recording.made
    return refusal(model, call, recording.made, of_the_cache) or ""


async def committed(fleet: Fleet, tenant: str, data: bytes, holds: int = 1) -> World:
    """A digest that a tenant holds once or twice, as two commits at once may leave it."""
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    if holds == 1:
        return live("inline", OWN)
    store = Holds(fleet.store, uuid7, new_nonce)
    (group,) = store.groups(tenant)
    (named,) = store.find(tenant, hold_digest(group[0].key))
    store.make(tenant, named.hold)
    return live("inline", OWN, SECOND)


@pytest.mark.parametrize("holds", [1, 2])
@pytest.mark.parametrize("again", [False, True])
async def test_delete(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Fill, again: bool, holds: int
) -> None:
    """A delete marks all holds, then deletes and unmarks each; an interrupted one does so again."""
    data = fill("inline")
    world = await committed(fleet, tenant, data, holds)
    client = (await fleet.frontend(recording)).tenant(tenant)
    if again:
        recording.lose = losing(Made("delete", "hold"), "request")
        with pytest.raises(Exception, match="lost"):
            await client.delete(sha256(data))
        assert found(recording, world, Call(delete, (RULES, "a", "1"))) is None
        recording.made.clear()
        world = world._replace(marks=world.holds)
    await client.delete(sha256(data))
    assert found(recording, world, Call(delete, (RULES, "a", "1"))) is None


@pytest.mark.parametrize("holds", [1, 2])
@pytest.mark.parametrize(
    "lost",
    [
        None,
        Made("run", "change_begin"),
        Made("put", "mark"),
        Made("run", "change_confirm"),
        Made("delete", "hold"),
        Made("delete", "mark"),
        Made("run", "change_end"),
    ],
)
@pytest.mark.parametrize("what", ["request", "reply"])
async def test_announced_delete(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    lost: Made | None,
    what: str,
    holds: int,
) -> None:
    """A delete is announced, marks, asks Redis again, deletes, and reports its end."""
    data = fill("inline")
    await committed(fleet, tenant, data, holds)
    client = (await fleet.frontend(recording)).tenant(tenant)
    recording.watch_redis(monkeypatch)
    if lost is None:
        await client.delete(sha256(data))
    else:
        recording.lose = losing(lost, what)
        await refused(StatusCode.UNAVAILABLE, client.delete(sha256(data)))
    names = frozenset({"old", "other"} if holds == 2 else {"old"})
    assert cached(recording, CacheWorld(holds=names), delete_announced) == ""
    if lost is None:
        asked = recording.made.index(Made("run", "change_confirm"))
        assert {made.kind for made in recording.made[asked:] if made.op == "delete"}


async def test_delete_of_nothing(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A delete of what isn't held announces itself, finds nothing, and is over."""
    client = (await fleet.frontend(recording)).tenant(tenant)
    recording.watch_redis(monkeypatch)
    await client.delete(sha256(fill("inline")))
    assert cached(recording, CacheWorld(), delete_announced) == ""


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
async def test_info_and_the_cache(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    held: bool,
    remembered: bool,
) -> None:
    """Info asks the cache first, the store on a miss, and then fills in what it has found."""
    data = fill("inline")
    await committed(fleet, tenant if held else f"{tenant}-b", data)
    client = (await fleet.frontend(recording)).tenant(tenant)
    if remembered:
        await client.info(sha256(data))
        recording.made.clear()
    recording.watch_redis(monkeypatch)
    await client.info(sha256(data))
    world = CacheWorld(holds=frozenset({"old"} if held else ()))
    if remembered:
        world = CacheWorld(Redis(entry=(0, 0)), holds=frozenset({"old"}))
    assert cached(recording, world, info_cached) == ""


@pytest.mark.parametrize("gone", [True, False])
async def test_a_write_and_the_cache(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Fill,
    monkeypatch: pytest.MonkeyPatch,
    gone: bool,
) -> None:
    """What is remembered of bytes that are gone is forgotten, as a change that is no delete."""
    data = fill("single")
    client = (await fleet.frontend(recording)).tenant(tenant)
    await client.commit("ref", data)
    await client.info(sha256(data))
    if gone:
        for entry in fleet.store.list("data/"):
            fleet.store.delete(entry.key)
    recording.made.clear()
    recording.watch_redis(monkeypatch)
    asking = client.write("other").send(content_pb2.STAT, expected=sha256(data))
    if gone:
        await asking
    else:
        await refused(StatusCode.ALREADY_EXISTS, asking)
    world = CacheWorld(Redis(entry=(0, 0)), holds=frozenset({"old"}))
    assert cached(recording, world, held_cached) == ""
    assert (Made("run", "change_end") in recording.made) is gone


def collect(
    store: FolderStore, recording: RecordingStore, world: World, doomed: tuple[str, ...] = ()
) -> str | None:
    """A run of the collector for which everything is old; model A's objection, if any."""
    del store
    collected.World(collected.Later(recording), collected.EAGER).collect()
    world = world._replace(ages=frozenset({("d", OLD)}), doomed=doomed)
    return found(recording, world, Call(sweep_store, (RULES, "a", "1")))


@pytest.mark.parametrize("lost", [None, SWAP])
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("held", [False, True])
def test_collector(fleet_store: FolderStore, held: bool, state: State, lost: Made | None) -> None:
    """A collector makes its requests in an order that the model allows, without a reply too."""
    before = collected.World(fleet_store)
    digest = before.commit("a", b"bytes")
    if not held:
        before.holds.drop("a", digest)
    if state is not State.LIVE:
        before.turn(digest, state)
    recording = RecordingStore(fleet_store)
    if lost:
        recording.lose = losing(lost, "reply")
    world = live("single", *([OWN] if held else []), state=str(state))
    assert collect(fleet_store, recording, world) is None


@pytest.mark.parametrize("lost", [None, SWAP, Made("delete", "data"), REMOVAL])
@pytest.mark.parametrize("what", ["request", "reply"])
def test_runs_of_a_collector(fleet_store: FolderStore, lost: Made | None, what: str) -> None:
    """A blob that nobody holds goes in four runs: record, doom, data, and in the end tombstone."""
    before = collected.World(fleet_store)
    digest = before.commit("a", b"bytes")
    before.holds.drop("a", digest)
    alive, dead = Record(LIVE, "d", "n"), Record(TOMBSTONE, "d", "t")
    buried = World(dead, data=frozenset({"d"}), known=(alive, 1))
    worlds = [
        World(alive, data=frozenset({"d"})),
        buried,
        buried._replace(known=(dead, 1), doomed=("d",)),
        World(dead, known=(dead, 2)),
    ]
    for world in worlds:
        recording = RecordingStore(fleet_store)
        if lost:
            recording.lose = losing(lost, what)
        assert collect(fleet_store, recording, world, doomed=world.doomed or ()) is None
        if lost and any(made.like(lost) for made in recording.made):
            return  # what the next run finds depends on whether it has landed
    assert lost is None
    assert before.state(digest) is None


@pytest.mark.parametrize("lost", [None, SWAP, MARKING, UNMARKING])
@pytest.mark.parametrize("marker", ["", FRESH, AGED])
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("held", [False, True])
def test_retention(
    fleet_store: FolderStore, held: bool, state: State, marker: str, lost: Made | None
) -> None:
    """A collector that retains condemns, marks and unmarks in an order that the model allows."""
    before = collected.World(fleet_store)
    digest = before.commit("a", b"bytes")
    if not held:
        before.holds.drop("a", digest)
    if state is not State.LIVE:
        before.turn(digest, state)
    if marker:
        fleet_store.put(collected.marker(digest, 5), b"")
    recording = RecordingStore(fleet_store)
    if lost:
        recording.lose = losing(lost, "reply")
    ages = collected.MINDFUL
    if marker == FRESH:
        ages = replace(ages, retain=2 * collected.OLD)
    collected.World(collected.Later(recording), ages).collect()
    world = live("single", *([OWN] if held else []), state=str(state))
    world = world._replace(marker=marker, ages=frozenset({("d", OLD)}), doomed=())
    assert found(recording, world, Call(sweep_store, (RULES, "a", "1"))) is None


def test_runs_while_no_data_is_old(fleet_store: FolderStore) -> None:
    """A held record is read if it was condemned or has changed since, and not once it is known."""
    before = collected.World(fleet_store)
    before.turn(before.commit("a", b"bytes"), State.CONDEMNED)
    condemned, pardoned = Record(CONDEMNED, "d", "n"), Record(LIVE, "d", "p")
    held = World(holds=frozenset({OWN}), data=frozenset({"d"}))
    worlds = [
        held._replace(record=condemned),
        held._replace(record=pardoned, known=(condemned, 1)),
        held._replace(record=pardoned, known=(pardoned, 1)),
    ]
    for world in worlds:
        recording = RecordingStore(fleet_store)
        collected.World(recording).collect()
        assert found(recording, world, Call(sweep_store, (RULES, "a", "1"))) is None


@pytest.mark.parametrize(
    "lost",
    [
        None,
        HOLD,
        Made("delete", "hold"),
        Made("delete", "mark"),
    ],
)
@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize("beside", ["nothing", "its hold", "its hold and another"])
def test_collector_of_marks(
    fleet_store: FolderStore, beside: str, lost: Made | None, what: str
) -> None:
    """An interrupted delete is taken back in an order that the model allows."""
    before = collected.World(fleet_store)
    digest = before.commit("a", b"bytes")
    (name,) = before.keys("holds/")
    fleet_store.put(name + DELETING, b"")
    world = live("single")._replace(holds=frozenset({OWN}), marks=frozenset({OWN}))
    if beside == "nothing":
        fleet_store.delete(name)
        world = world._replace(holds=frozenset())
    if beside == "its hold and another":
        seen = before.records.read(digest)
        assert seen
        before.holds.make("a", before.new_hold(seen.record))
        world = world._replace(holds=frozenset({OWN, SECOND}))
    recording = RecordingStore(fleet_store)
    if lost:
        recording.lose = losing(lost, what)
    assert collect(fleet_store, recording, world) is None
    made_one = any(made.like(HOLD) for made in recording.made)
    assert made_one is (beside == "its hold") or lost is not None


def test_collector_of_another_tenants_mark(fleet_store: FolderStore) -> None:
    """An interrupted delete is taken back for its own tenant, though others hold the digest."""
    before = collected.World(fleet_store)
    before.commit("a", b"bytes")
    (name,) = before.keys("holds/")
    fleet_store.put(name + DELETING, b"")
    recording = RecordingStore(fleet_store)
    world = live("single", OTHER)._replace(holds=frozenset({OWN, OTHER}), marks=frozenset({OWN}))
    assert collect(fleet_store, recording, world) is None
    assert len(before.keys("holds/")) == 1
