"""COMMITs of what the tenant holds, or is about to: whose labels are found."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.coordination.ingest import Turn
from holdfast.coordination.ingests import Ingests
from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.keys import hold_digest
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Stream, Tenant, refused, sha256
from tests.stores.counting import CountingStore

MIB = 2**20
SIZES = [300, 300_000, 9 * MIB]
FIRST, SECOND = {"containerd.io/gc.root": "first"}, {"stage": "second"}
Racer = dict[str, str]


@pytest.fixture
def contended(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set as soon as any commit finds that another one of its digest is under way."""
    found = asyncio.Event()

    def watched(asking: Callable[..., Any]) -> Callable[..., Any]:
        async def ask(*arguments: Any, **options: Any) -> Turn | None:
            turn: Turn | None = await asking(*arguments, **options)
            if turn is not None and not turn.ended:
                found.set()
            return turn

        return ask

    monkeypatch.setattr(Ingests, "freeze", watched(Ingests.freeze))
    monkeypatch.setattr(Ingests, "take_turn", watched(Ingests.take_turn))
    return found


def holds(store: ObjectStore, tenant: str, data: bytes) -> int:
    """How many holds, and marks, a tenant has on some bytes."""
    keys = [entry.key for entry in store.list(f"holds/{tenant}/")]
    return sum(str(hold_digest(key)) == sha256(data) for key in keys)


async def labels_of(fleet: Fleet, tenant: str, data: bytes) -> dict[str, str]:
    """The labels by Info, cold and hot, and by List, which must agree."""
    cold = (await fleet.frontend()).tenant(tenant)
    (listed,) = [info for info in await cold.list() if info.digest == sha256(data)]
    found = [dict((await cold.info(sha256(data))).labels) for _ in range(2)]
    assert found == [dict(listed.labels)] * 2
    return found[0]


async def sent(client: Tenant, ref: str, data: bytes) -> Stream:
    """A stream that has sent all bytes."""
    stream = client.write(ref)
    await stream.write_all(data)
    return stream


async def outcome(stream: Stream, data: bytes, labels: Racer, *, named: bool = True) -> StatusCode:
    """What a COMMIT is answered."""
    try:
        await stream.send(pb.COMMIT, expected=sha256(data) if named else "", labels=labels)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("named", [False, True])
async def test_the_first_labels_stay(
    fleet: Fleet, fill: Fill, tenant: str, size: int, named: bool
) -> None:
    """A COMMIT of what the tenant holds is ALREADY_EXISTS, and changes neither labels nor holds."""
    data, one, two = fill(size), await fleet.frontend(), await fleet.frontend()
    await one.tenant(tenant).commit("ref", data, labels=FIRST)
    for number, frontend in enumerate((one, two)):
        stream = await sent(frontend.tenant(tenant), f"other-{number}", data)
        answer = await outcome(stream, data, SECOND, named=named)
        assert answer is StatusCode.ALREADY_EXISTS
    assert await labels_of(fleet, tenant, data) == FIRST
    assert holds(fleet.store, tenant, data) == 1


async def test_what_an_info_took_meanwhile(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A COMMIT of parts that an Info has taken over since the last look is ALREADY_EXISTS, too."""
    size = 9 * MIB
    data, one, two = fill(size), await fleet.frontend(), await fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    await stream.send(pb.STAT, expected=sha256(data), total=size)
    await stream.write_all(data)
    await two.tenant(f"{tenant}-other").commit("ref", data)
    await two.tenant(tenant).info(sha256(data))
    await two.tenant(tenant).update(sha256(data), FIRST)
    assert await outcome(stream, data, SECOND) is StatusCode.ALREADY_EXISTS
    assert await labels_of(fleet, tenant, data) == FIRST
    assert holds(fleet.store, tenant, data) == 1


@pytest.mark.parametrize("size", [300, 9 * MIB])
async def test_an_empty_label_is_none(fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """A label without a value on COMMIT is no label, as it is none to Update."""
    data, client = fill(size), (await fleet.frontend()).tenant(tenant)
    await client.commit("ref", data, labels={"empty": "", **FIRST})
    assert await labels_of(fleet, tenant, data) == FIRST


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("known", [False, True], ids=["new", "known to the fleet"])
async def test_racers(fleet: Fleet, fill: Fill, tenant: str, size: int, known: bool) -> None:
    """Of COMMITs that race one is OK, and its labels are found; the others are ALREADY_EXISTS."""
    data, frontends = fill(size), [await fleet.frontend(), await fleet.frontend()]
    if known:
        await frontends[0].tenant(f"{tenant}-other").commit("ref", data)
    streams = [
        await sent(frontends[number % 2].tenant(tenant), f"ref-{number}", data)
        for number in range(4)
    ]
    racers = [{"racer": str(number)} for number in range(4)]
    answers = await asyncio.gather(
        *(outcome(stream, data, labels) for stream, labels in zip(streams, racers, strict=True))
    )
    assert sorted(answers, key=str) == [StatusCode.ALREADY_EXISTS] * 3 + [StatusCode.OK]
    assert await labels_of(fleet, tenant, data) == racers[answers.index(StatusCode.OK)]
    assert holds(fleet.store, tenant, data) == 1


def pausing(store: CountingStore, place: int) -> tuple[threading.Event, threading.Event]:
    """Stops a store before its request number `place`, if it comes so far: stopped, go on."""
    stopped, go_on = threading.Event(), threading.Event()
    begun = len(store.calls)

    def before(_name: str, _key: str) -> None:
        if len(store.calls) - begun == place + 1 and not stopped.is_set():
            stopped.set()
            go_on.wait(30)

    store.before = before
    return stopped, go_on


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("known", [False, True], ids=["new", "known to the fleet"])
@pytest.mark.parametrize("place", range(7))
async def test_a_racer_between_two_requests(
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    fill: Fill,
    tenant: str,
    contended: asyncio.Event,
    size: int,
    known: bool,
    place: int,
) -> None:
    """Wherever a COMMIT stands when another one comes, one is OK, and its labels are found."""
    data, slow = fill(size), CountingStore(folder_store)
    one, two = await folder_fleet.frontend(slow), await folder_fleet.frontend()
    if known:
        await two.tenant(f"{tenant}-other").commit("ref", data)
    first, second = [await sent(f.tenant(tenant), f"ref-{f.port}", data) for f in (one, two)]
    stopped, go_on = pausing(slow, place)
    slower = asyncio.create_task(outcome(first, data, FIRST))
    reached = asyncio.create_task(asyncio.to_thread(stopped.wait, 30))
    await asyncio.wait([slower, reached], return_when=asyncio.FIRST_COMPLETED)
    stopped.set()
    faster = asyncio.create_task(outcome(second, data, SECOND))
    meets = asyncio.create_task(contended.wait())
    await asyncio.wait([faster, meets], return_when=asyncio.FIRST_COMPLETED)
    go_on.set()
    answers = [await slower, await faster]
    await reached
    meets.cancel()
    assert set(answers) == {StatusCode.OK, StatusCode.ALREADY_EXISTS}
    assert await labels_of(folder_fleet, tenant, data) == (
        FIRST if answers[0] is StatusCode.OK else SECOND
    )
    assert holds(folder_store, tenant, data) == 1


@pytest.mark.parametrize("size", [300, 9 * MIB])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known to the fleet"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("prefix", ["holds/", "blobs/"])
async def test_a_lost_reply_changes_no_winner(
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    fill: Fill,
    tenant: str,
    size: int,
    known: bool,
    moment: str,
    prefix: str,
) -> None:
    """Where requests or replies are lost, whoever is told OK finds its labels all the same."""
    data, faulty = fill(size), CountingStore(folder_store)
    one, two = await folder_fleet.frontend(faulty), await folder_fleet.frontend()
    if known:
        await two.tenant(f"{tenant}-other").commit("ref", data)
    first, second = [await sent(f.tenant(tenant), f"ref-{f.port}", data) for f in (one, two)]
    left = [OutcomeUnknown("no reply")]

    def lose(name: str, key: str) -> None:
        if name == "put" and key.startswith(prefix) and left:
            raise left.pop()

    setattr(faulty, moment, lose)
    answers = await asyncio.gather(outcome(first, data, FIRST), outcome(second, data, SECOND))
    assert set(answers) == {StatusCode.OK, StatusCode.ALREADY_EXISTS}
    winner = FIRST if answers[0] is StatusCode.OK else SECOND
    assert await labels_of(folder_fleet, tenant, data) == winner


@pytest.mark.parametrize("size", SIZES)
async def test_a_commit_that_never_ends(
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    fill: Fill,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    """A COMMIT whose frontend died stops no other: that one is OK, also once it is finished."""
    monkeypatch.setattr("holdfast.service.ingest.turns.PATIENCE", 0.0)
    data, dying = fill(size), CountingStore(folder_store)
    one, two = await folder_fleet.frontend(dying), await folder_fleet.frontend()
    first, second = [await sent(f.tenant(tenant), f"ref-{f.port}", data) for f in (one, two)]

    def away(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/"):
            raise Unavailable("the store is away")

    dying.before = away
    assert await outcome(first, data, FIRST) is StatusCode.UNAVAILABLE
    assert await outcome(second, data, SECOND) is StatusCode.OK
    assert await labels_of(folder_fleet, tenant, data) == SECOND
    again = two.tenant(tenant).write(f"ref-{one.port}")
    await refused(
        StatusCode.ALREADY_EXISTS, again.send(pb.COMMIT, offset=size, expected=sha256(data))
    )
    assert await labels_of(folder_fleet, tenant, data) == SECOND


@pytest.mark.parametrize("size", [300, 9 * MIB])
async def test_retries_of_a_frozen_commit_leave_one_hold(
    folder_fleet: Fleet, folder_store: ObjectStore, fill: Fill, tenant: str, size: int
) -> None:
    """However often a frozen commit is carried out again in vain, its hold is made once."""
    data, faulty = fill(size), CountingStore(folder_store)
    frontend = await folder_fleet.frontend(faulty)
    stream = await sent(frontend.tenant(tenant), "ref", data)

    def away(name: str, key: str) -> None:
        if name == "put" and key.startswith("blobs/"):
            raise Unavailable("the store is away")

    faulty.before = away
    assert await outcome(stream, data, FIRST) is StatusCode.UNAVAILABLE
    for _ in range(20):
        await refused(StatusCode.UNAVAILABLE, frontend.tenant(tenant).write("ref").send(pb.STAT))
    assert holds(folder_store, tenant, data) == 1
    faulty.before = lambda _name, _key: None
    await frontend.tenant(tenant).write("ref").send(pb.STAT)
    assert await labels_of(folder_fleet, tenant, data) == FIRST


async def test_commits_without_a_digest_leave_one_hold(
    folder_fleet: Fleet, folder_store: ObjectStore, fill: Fill, tenant: str
) -> None:
    """However often the same bytes are committed, named or not, the tenant has one hold."""
    data, frontends = fill(300), [await folder_fleet.frontend(), await folder_fleet.frontend()]
    for number in range(20):
        stream = await sent(frontends[number % 2].tenant(tenant), f"ref-{number}", data)
        answer = await outcome(stream, data, {"number": str(number)}, named=False)
        assert answer is (StatusCode.ALREADY_EXISTS if number else StatusCode.OK)
    assert holds(folder_store, tenant, data) == 1
    assert await labels_of(folder_fleet, tenant, data) == {"number": "0"}
