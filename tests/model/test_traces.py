"""What the code requests of the store, and in which order, is what the model allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.storage.records import Records, State
from tests.model.commit_programs import commit_unnamed, redrive
from tests.model.programs import Call
from tests.model.recording import Made, RecordingStore, losing
from tests.model.storage_model import Frozen, World
from tests.model.storage_programs import held_again, info, remembered
from tests.model.storage_rules import GONE, LIVE, WRONG, Record
from tests.model.traces import of_a_commit
from tests.model.worlds import (
    FIRST,
    HOLD,
    OTHER,
    OWN,
    RULES,
    SIZES,
    SWAP,
    announced,
    found,
    live,
    turn,
)
from tests.service.fleet import Fleet, refused, sha256


@pytest.mark.parametrize("kind", SIZES)
async def test_commit(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes], kind: str
) -> None:
    """A commit of a new digest makes its requests in an order that the model allows."""
    client = (await fleet.frontend(recording)).tenant(tenant)
    await client.commit("ref", fill(kind), **announced(kind))
    assert found(recording, World(), Call(commit_unnamed, (RULES, "a", "1", kind))) is None


@pytest.mark.parametrize("what", ["request", "reply"])
@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("inline", HOLD),
        ("inline", FIRST),
        ("early", FIRST),
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
    """A commit that gets no reply once continues in a way that the model allows."""
    client = (await fleet.frontend(recording)).tenant(tenant)
    recording.lose = losing(lost, what)
    await client.commit("ref", fill(kind), **announced(kind))
    assert not all(made.answered for made in recording.made)
    assert found(recording, World(), Call(commit_unnamed, (RULES, "a", "1", kind))) is None


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
    client = (await fleet.frontend(recording)).tenant(tenant)
    await client.commit("ref", data, **announced(kind))
    world = live(kind, OTHER, state=str(state))
    assert found(recording, world, Call(commit_unnamed, (RULES, "a", "1", kind))) is None


@pytest.mark.parametrize("kind", SIZES)
async def test_commit_of_what_is_held(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes], kind: str
) -> None:
    """A commit of what the tenant already holds keeps to the model's orders."""
    data = fill(kind)
    await (await fleet.frontend()).tenant(tenant).commit("ref", data)
    client = (await fleet.frontend(recording)).tenant(tenant)
    await refused(StatusCode.ALREADY_EXISTS, client.commit("other", data, **announced(kind)))
    call = Call(commit_unnamed, (RULES, "a", "1", kind))
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
    """Info of what only others hold makes a hold, and then reads the record again."""
    data = fill(kind)
    await (await fleet.frontend()).tenant(f"{tenant}-b").commit("ref", data)
    if state is not State.LIVE:
        turn(fleet, data, state)
    await (await fleet.frontend(recording)).tenant(tenant).info(sha256(data))
    world = live(kind, OTHER, state=str(state))
    assert found(recording, world, Call(info, (RULES, "a", "1"))) is None
    assert any(made.like(HOLD) for made in recording.made)


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
    client = (await fleet.frontend(recording)).tenant(tenant)
    await refused(
        StatusCode.ALREADY_EXISTS, client.write("other").send(pb.STAT, expected=sha256(data))
    )
    assert found(recording, live("single", OWN), Call(held_again, (RULES, "a", "1"))) is None


@pytest.mark.parametrize("state", [State.LIVE, State.CONDEMNED])
async def test_write_of_what_is_remembered(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    state: State,
) -> None:
    """A write of what the cache remembers still looks at the record and its bytes."""
    data = fill("single")
    client = (await fleet.frontend(recording)).tenant(tenant)
    await client.commit("ref", data)
    await client.info(sha256(data))
    if state is not State.LIVE:
        turn(fleet, data, state)
    recording.made.clear()
    await refused(
        StatusCode.ALREADY_EXISTS, client.write("other").send(pb.STAT, expected=sha256(data))
    )
    world = live("single", OWN, state=str(state))
    assert found(recording, world, Call(remembered, (RULES, "a", "1"))) is None


@pytest.mark.parametrize("kind", SIZES)
async def test_freezing(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """A commit is frozen before any of it is sent, and forgotten after its record."""
    client = (await fleet.frontend(recording)).tenant(tenant)
    recording.watch_redis(monkeypatch)
    await client.commit("ref", fill(kind), **announced(kind))
    call = Call(commit_unnamed, (RULES, "a", "1", kind))
    assert found(recording, World(), call, of_a_commit) is None
    assert Made("run", "freeze") in recording.made


@pytest.mark.parametrize("damage", [GONE, WRONG])
async def test_healing(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    damage: str,
) -> None:
    """A commit replaces a record whose bytes are gone, or whose sums differ."""
    data = fill("single")
    await (await fleet.frontend()).tenant(f"{tenant}-b").commit("ref", data)
    records = Records(fleet.store)
    seen = records.read(Digest.of(data))
    assert seen is not None
    if damage == GONE:
        fleet.store.delete(seen.record.data_key)
    else:
        sums = bytes(len(seen.record.block_sums))
        records.write(replace(seen.record, block_sums=sums, nonce="other"), seen)
    await (await fleet.frontend(recording)).tenant(tenant).commit("ref", data)
    record = Record(LIVE, "d", "n", damage)
    world = World(record, frozenset({OTHER}), data=frozenset({"d"} if damage == WRONG else ()))
    assert found(recording, world, Call(commit_unnamed, (RULES, "a", "1", "early"))) is None
    assert any(made.like(SWAP) for made in recording.made)


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
    """Another frontend completes a frozen commit in an order that the model allows."""
    # Once the record was sent, the first frontend can't reach the store any more.
    sent: list[Made] = []

    def lose(made: Made) -> str:
        if made.like(FIRST) and not sent:
            sent.append(made)
            return what
        return "request" if sent and made.kind == "record" else ""

    recording.lose = lose
    first = (await fleet.frontend(recording)).tenant(tenant)
    with pytest.raises(Exception, match=r"UNAVAILABLE|lost"):
        await first.commit("ref", fill(kind), **announced(kind))
    second = RecordingStore(fleet.store)
    stream = (await fleet.frontend(second)).tenant(tenant).write("ref")
    await stream.send(pb.STAT)
    await stream.half_close()
    key = "i1" if kind == "inline" else "d1"
    record = Record(LIVE, key, "1c")
    world = World(
        record if what == "reply" else None,
        frozenset({("a", "1c.")}),
        data=frozenset({key} - {"i1"}),
        frozen=frozenset({("a", Frozen(record, kind))}),
    )
    assert found(second, world, Call(redrive, (RULES, "a", "2", record, kind))) is None


async def test_thaw(
    fleet: Fleet, recording: RecordingStore, tenant: str, fill: Callable[[str], bytes]
) -> None:
    """A frozen commit whose bytes never arrived is dropped in an order that the model allows."""
    data = fill("single")
    recording.lose = losing(Made("put", "data"), "request")
    with pytest.raises(Exception, match="lost"):
        await (await fleet.frontend(recording)).tenant(tenant).commit("ref", data, total=0)
    second = RecordingStore(fleet.store)
    stream = (await fleet.frontend(second)).tenant(tenant).write("ref")
    assert (await stream.send(pb.STAT)).offset == 0
    await stream.half_close()
    record = Record(LIVE, "d1", "1c")
    holds = frozenset({("a", "1c.")})
    world = World(holds=holds, frozen=frozenset({("a", Frozen(record, "single"))}))
    assert found(second, world, Call(redrive, (RULES, "a", "2", record, "single"))) is None
