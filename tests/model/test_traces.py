"""What the code asks of the store, and in which order, is what the model allows."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from protos import content_pb2 as pb
from storage.folder import FolderStore
from storage.records import Records, State
from tests.model.checker import Faults
from tests.model.collector_programs import end_deletes, sweep_store
from tests.model.programs import Call
from tests.model.storage_model import OLD, Frozen, StorageModel, World
from tests.model.storage_programs import (
    LIVE,
    Record,
    Rules,
    commit,
    delete,
    held_again,
    info,
    redrive,
)
from tests.model.traces import Made, RecordingStore, refusal
from tests.service.collector import world as collected
from tests.service.fleet import Fleet, refused, sha256

MIB = 2**20
SIZES = {"inline": 4096, "single": 100_000, "parts": 9 * MIB}
RULES = Rules()
OTHER = ("b", "other")
OWN = ("a", "own")
HOLD = Made("put", "hold", "IfAbsent")
FIRST = Made("put", "record", "IfAbsent")
SWAP = Made("put", "record", "IfMatch")


def model(world: World) -> StorageModel:
    """The protocol as it is, in a world of one's own."""
    return StorageModel(RULES, [], Faults(), world)


def live(kind: str, *holds: tuple[str, str], state: str = LIVE) -> World:
    """A world in which the digest is there."""
    key = "i" if kind == "inline" else "d"
    return World(Record(state, key, "n"), frozenset(holds), data=frozenset({key} - {"i"}))


def losing(wanted: Made, what: str, times: int = 1) -> Callable[[Made], str]:
    """Loses the first requests of a sort, or their replies."""
    left = [times]

    def lose(made: Made) -> str:
        if made != wanted or not left[0]:
            return ""
        left[0] -= 1
        return what

    return lose


@pytest.fixture
def fleet_store(tmp_path: Path) -> FolderStore:
    """A folder that no frontend uses."""
    store = FolderStore(tmp_path / "store")
    store.check_access()
    return store


@pytest.fixture
def recording(fleet: Fleet) -> RecordingStore:
    """The folder behind a store that writes down what it is asked."""
    return RecordingStore(fleet.store)


@pytest.fixture
def tenant(unique: str) -> str:
    """A tenant of the test's own."""
    return f"t-{unique}"


@pytest.fixture
def fill(unique: str) -> Callable[[str], bytes]:
    """Makes bytes that no other test has, for a kind of commit."""
    source = random.Random(unique)  # noqa: S311 -- content, not a secret
    return lambda kind: source.randbytes(SIZES[kind])


def turn(fleet: Fleet, data: bytes, state: State) -> None:
    """Changes the state of a digest's record, as a collector does."""
    records = Records(fleet.store)
    seen = records.read(Digest.of(data))
    assert seen is not None
    records.write(seen.record.turned(state, f"turned-{state}"), seen)


def found(recording: RecordingStore, world: World, call: Call) -> str | None:
    """Why the model refuses what was recorded, if it does."""
    assert recording.made
    return refusal(model(world), call, recording.made)


@pytest.mark.parametrize("kind", SIZES)
async def test_commit(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes], kind: str
) -> None:
    """A commit of a new digest makes its requests in an order that the model allows."""
    await (await fleet.frontend(recording)).tenant(tenant).commit("ref", fill(kind))
    assert found(recording, World(), Call(commit, (RULES, "a", "1", kind))) is None


@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("inline", HOLD),
        ("inline", FIRST),
        ("single", FIRST),
        ("parts", HOLD),
        ("parts", FIRST),
        ("parts", Made("complete_upload", "data")),
    ],
)
async def test_commit_without_a_reply(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    kind: str,
    lost: Made,
    what: str,
) -> None:
    """A commit that gets no reply once goes on in a way that the model allows."""
    client = (await fleet.frontend(recording)).tenant(tenant)
    recording.lose = losing(lost, what)
    await client.commit("ref", fill(kind))
    assert not all(made.answered for made in recording.made)
    assert found(recording, World(), Call(commit, (RULES, "a", "1", kind))) is None


@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED, State.TOMBSTONE])
@pytest.mark.parametrize("kind", SIZES)
async def test_commit_of_what_the_fleet_has(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    kind: str,
    state: State,
) -> None:
    """A commit of a digest that is live, condemned or buried keeps to the model's orders."""
    data = fill(kind)
    await (await fleet.frontend()).tenant(f"{tenant}-b").commit("ref", data)
    if state is not State.LIVE:
        turn(fleet, data, state)
    await (await fleet.frontend(recording)).tenant(tenant).commit("ref", data)
    world = live(kind, OTHER, state=str(state))
    assert found(recording, world, Call(commit, (RULES, "a", "1", kind))) is None


@pytest.mark.parametrize("kind", SIZES)
async def test_commit_of_what_is_held(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes], kind: str
) -> None:
    """A commit of what the tenant holds already keeps to the model's orders."""
    data = fill(kind)
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    client = (await fleet.frontend(recording)).tenant(tenant)
    await refused(StatusCode.ALREADY_EXISTS, client.commit("other", data))
    call = Call(commit, (RULES, "a", "1", kind))
    assert found(recording, live(kind, OWN), call) is None


@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED])
@pytest.mark.parametrize("kind", ["inline", "single"])
async def test_info_takes_over(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    kind: str,
    state: State,
) -> None:
    """Info of what only others hold makes a hold, and then reads the record afresh."""
    data = fill(kind)
    await (await fleet.frontend()).tenant(f"{tenant}-b").commit("ref", data)
    if state is not State.LIVE:
        turn(fleet, data, state)
    await (await fleet.frontend(recording)).tenant(tenant).info(sha256(data))
    world = live(kind, OTHER, state=str(state))
    assert found(recording, world, Call(info, (RULES, "a", "1"))) is None
    assert HOLD in recording.made


@pytest.mark.parametrize("kind", ["inline", "single"])
async def test_info_of_what_is_held(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes], kind: str
) -> None:
    """Info of what is held reads the record after the hold."""
    data = fill(kind)
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    await (await fleet.frontend(recording)).tenant(tenant).info(sha256(data))
    assert found(recording, live(kind, OWN), Call(info, (RULES, "a", "1"))) is None


async def test_write_of_what_is_held(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes]
) -> None:
    """A write that announces a digest which is held asks in an order that the model allows."""
    data = fill("single")
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    stream = (await fleet.frontend(recording)).tenant(tenant).write("other")
    await refused(StatusCode.ALREADY_EXISTS, stream.send(pb.STAT, expected=sha256(data)))
    assert found(recording, live("single", OWN), Call(held_again, (RULES, "a", "1"))) is None


@pytest.mark.parametrize("again", [False, True])
async def test_delete(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes], again: bool
) -> None:
    """A delete marks, deletes and unmarks each hold, and one that was broken off does again."""
    data = fill("inline")
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    world = live("inline", OWN)
    client = (await fleet.frontend(recording)).tenant(tenant)
    if again:
        recording.lose = losing(Made("delete", "hold"), "request")
        with pytest.raises(Exception, match="lost"):
            await client.delete(sha256(data))
        assert found(recording, world, Call(delete, (RULES, "a", "1"))) is None
        recording.made.clear()
        world = world._replace(marks=frozenset({OWN}))
    await client.delete(sha256(data))
    assert found(recording, world, Call(delete, (RULES, "a", "1"))) is None


@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize("kind", SIZES)
async def test_redrive(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    kind: str,
    what: str,
) -> None:
    """Another frontend carries a frozen commit out in an order that the model allows."""
    # Once the record was sent, its first frontend reaches the store no more.
    sent: list[Made] = []

    def lose(made: Made) -> str:
        if made == FIRST and not sent:
            sent.append(made)
            return what
        return "request" if sent and made.kind == "record" else ""

    recording.lose = lose
    first = (await fleet.frontend(recording)).tenant(tenant)
    with pytest.raises(Exception, match=r"UNAVAILABLE|lost"):
        await first.commit("ref", fill(kind))
    second = RecordingStore(fleet.store)
    stream = (await fleet.frontend(second)).tenant(tenant).write("ref")
    await stream.send(pb.STAT)
    await stream.half_close()
    key = "i1" if kind == "inline" else "d1"
    record = Record(LIVE, key, "1c")
    world = World(
        record if what == "reply" else None,
        frozenset({OWN}),
        data=frozenset({key} - {"i1"}),
        frozen=frozenset({("a", Frozen(record, kind))}),
    )
    assert found(second, world, Call(redrive, (RULES, "a", "2", record, kind))) is None


@pytest.mark.parametrize("lost", [None, SWAP])
@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED, State.TOMBSTONE])
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
    collected.World(collected.Later(recording), collected.EAGER).collect()
    world = live("single", *([OWN] if held else []), state=str(state))
    world = world._replace(ages=frozenset({("d", OLD)}))
    assert found(recording, world, Call(sweep_store, (RULES, "a", "1"))) is None


@pytest.mark.parametrize("alone", [False, True])
def test_collector_of_marks(fleet_store: FolderStore, alone: bool) -> None:
    """A collector ends a delete that was broken off in an order that the model allows."""
    before = collected.World(fleet_store)
    before.commit("a", b"bytes")
    (name,) = before.keys("holds/")
    fleet_store.put(f"{name}.deleting", b"")
    if alone:
        fleet_store.delete(name)
    recording = RecordingStore(fleet_store)
    collected.World(collected.Later(recording), collected.EAGER).collect()
    # What the pass over records asks comes first; it ends with the listing of its records.
    start = recording.made.index(Made("list", "record"))
    recording.made[start : start + 1] = []
    world = live("single")._replace(
        holds=frozenset() if alone else frozenset({OWN}),
        marks=frozenset({OWN}),
        ages=frozenset({("d", OLD)}),
    )
    assert found(recording, world, Call(end_deletes, (RULES, "a", "1"))) is None
    assert HOLD in recording.made or alone


async def test_thaw(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes]
) -> None:
    """A frozen commit whose bytes never came is dropped in an order that the model allows."""
    data = fill("single")
    recording.lose = losing(Made("put", "data"), "request")
    with pytest.raises(Exception, match="lost"):
        await (await fleet.frontend(recording)).tenant(tenant).commit("ref", data, total=0)
    second = RecordingStore(fleet.store)
    stream = (await fleet.frontend(second)).tenant(tenant).write("ref")
    assert (await stream.send(pb.STAT)).offset == 0
    await stream.half_close()
    record = Record(LIVE, "d1", "1c")
    world = World(holds=frozenset({OWN}), frozen=frozenset({("a", Frozen(record, "single"))}))
    assert found(second, world, Call(redrive, (RULES, "a", "2", record, "single"))) is None


@pytest.mark.parametrize(
    "made",
    [
        [FIRST, HOLD],
        [HOLD],
        [HOLD, FIRST, FIRST],
        [HOLD, SWAP],
        [HOLD._replace(condition=""), FIRST],
    ],
)
def test_other_orders_are_refused(made: list[Made]) -> None:
    """The record before the hold, an order that stops early, and the like are not allowed."""
    assert refusal(model(World()), Call(commit, (RULES, "a", "1", "inline")), made)
