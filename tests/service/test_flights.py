"""A fleet that writes one blob at the same time writes it once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import flight
from holdfast.digests import Digest
from holdfast.errors import FLIGHT
from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2, fleet_pb2_grpc
from holdfast.service.ingest.flights import expected_of
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Frontend, Stream, Tenant, eventually, refused, sha256
from tests.stores.counting import CountingStore

LARGE = 3 * 2**20
WAIT, PATIENCE = 600.0, 600.0
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def settings() -> Mapping[str, Any]:
    """Times that no test waits for."""
    return {"flight_wait": WAIT, "flight_patience": PATIENCE}


def layer(data: bytes) -> str:
    """A ref as containerd makes it: its number, its namespace and its key."""
    return f"default/12/layer-{sha256(data)}"


async def opened(tenant: Tenant, data: bytes) -> Stream:
    """A stream for these bytes, which has told their total, as containerd does."""
    stream = tenant.write(layer(data))
    await stream.send(pb.STAT, total=len(data))
    return stream


async def waiting(tenant: Tenant, data: bytes) -> grpc.aio.AioRpcError:
    """The answer to a stream that has to wait."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await opened(tenant, data)
    assert caught.value.code() is UNAVAILABLE
    return caught.value


async def flights(frontend: Frontend) -> fleet_pb2.FlightsResponse:
    """What the fleet is writing, as any tenant may ask."""
    stub = fleet_pb2_grpc.FleetStub(frontend.channel)
    return await stub.Flights(fleet_pb2.FlightsRequest(), metadata=((HEADER, "anyone"),))


async def test_others_wait_and_adopt(
    fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """Others are told to wait, on any frontend; once the blob is committed, their Info has it."""
    one, two = await fleet.frontend(**settings), await fleet.frontend(**settings)
    data = fill(LARGE)
    first, second = one.tenant(f"{unique}-1"), two.tenant(f"{unique}-2")
    stream = await opened(first, data)
    error = await waiting(second, data)
    assert sha256(data) in str(error.details())
    assert f"{unique}-1" in str(error.details())
    await stream.write_all(data)
    await stream.send(pb.COMMIT, offset=LARGE, expected=sha256(data))
    assert (await second.info(sha256(data))).size == LARGE
    assert await second.read(sha256(data)) == data
    assert one.counted("holdfast_flights_total") == 1
    assert two.counted("holdfast_flight_waits_total") == 1
    assert two.counted("holdfast_flight_saved_bytes_total") == LARGE


async def test_what_is_looked_for_anyway_is_not_asked_for(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """A declared digest may be there already: that is looked at first, unless it was just done."""
    frontend = await folder_fleet.frontend(**settings)
    data = fill(LARGE)

    async def declare(number: int) -> None:
        stream = frontend.tenant(f"{unique}-{number}").write(f"push-{number}")
        await stream.send(pb.STAT, total=LARGE, expected=sha256(data))

    await declare(1)
    assert frontend.counted("holdfast_flights_total") == 0
    await declare(2)  # the first one's look has found nothing
    assert frontend.counted("holdfast_flights_total") == 1
    await refused(UNAVAILABLE, declare(3))


async def test_progress_is_told(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """Who waits is told how far the leader is, in a trailer that programs read."""
    frontend = await folder_fleet.frontend(**settings)
    data = fill(LARGE)
    stream = await opened(frontend.tenant(f"{unique}-1"), data)
    await stream.write_all(data[: 2**20])
    assert frontend.running.frontend.flights is not None
    await frontend.running.frontend.flights.report()
    error = await waiting(frontend.tenant(f"{unique}-2"), data)
    trailers = dict(error.trailing_metadata() or ())
    assert trailers[FLIGHT] == f"{unique}-1 {2**20} {LARGE}"


async def test_nothing_is_left_by_who_waits(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """A tenant that was told to wait has no ingest, and its ref isn't locked."""
    frontend = await folder_fleet.frontend(**settings)
    data, second = fill(LARGE), frontend.tenant(f"{unique}-2")
    await opened(frontend.tenant(f"{unique}-1"), data)
    await waiting(second, data)
    assert await second.statuses() == []


async def test_an_abort_lets_the_next_one_in(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """If the leader aborts, somebody else leads, long before the leader's patience is over."""
    frontend = await folder_fleet.frontend(**settings)
    data, second = fill(LARGE), frontend.tenant(f"{unique}-2")
    stream = await opened(frontend.tenant(f"{unique}-1"), data)
    await stream.send(pb.ABORT)
    flights = frontend.running.frontend.flights
    assert flights is not None
    await flights.report()
    await opened(second, data)


async def test_a_stream_that_broke_is_resumed_by_its_tenant(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """The leader's tenant needn't wait for itself, whichever frontend it uses."""
    one, two = [await folder_fleet.frontend(**settings) for _ in range(2)]
    data = fill(LARGE)
    stream = await opened(one.tenant(unique), data)
    await stream.write_all(data[: 2**20])
    await stream.half_close()
    again = two.tenant(unique).write(layer(data))
    assert (await again.send(pb.STAT, total=LARGE)).offset == 2**20


async def test_a_lie_about_the_digest(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """A leader that writes other bytes commits nothing under the digest that others wait for."""
    frontend = await folder_fleet.frontend(**settings)
    data, other = fill(LARGE), fill(LARGE)
    liar, second = frontend.tenant(f"{unique}-1"), frontend.tenant(f"{unique}-2")
    stream = await opened(liar, data)
    await stream.write_all(other)
    await stream.send(pb.COMMIT, offset=LARGE)
    await refused(grpc.StatusCode.NOT_FOUND, second.info(sha256(data)))
    client: Any = open_client(folder_fleet.redis_url)
    try:
        await client.hset(flight(Digest.parse(sha256(data))), "admits", 0)
    finally:
        await client.aclose()
    await second.commit(layer(data), data, expected=sha256(data))
    assert await second.read(sha256(data)) == data


@pytest.mark.parametrize(
    "chosen",
    [{"flight": False}, {"sharing": "isolated"}, {"flight_size": LARGE + 1}],
    ids=["switched off", "isolated", "small"],
)
async def test_everybody_is_admitted(
    folder_fleet: Fleet, unique: str, fill: Fill, chosen: Mapping[str, Any]
) -> None:
    """Nobody waits if the setting says so, if nothing is shared, or if the blob is small."""
    frontend = await folder_fleet.frontend(**chosen)
    data = fill(LARGE)
    for number in range(3):
        await opened(frontend.tenant(f"{unique}-{number}"), data)


async def test_without_redis_writes_fail_as_ever(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """If flights can't be asked for, a write is admitted: it isn't told to wait for anybody."""
    frontend = await folder_fleet.frontend(**settings)
    data = fill(LARGE)
    await opened(frontend.tenant(f"{unique}-1"), data)
    client: Any = open_client(folder_fleet.redis_url)
    key = flight(Digest.parse(sha256(data)))
    try:
        await client.delete(key)
        await client.set(key, "not a hash", px=60_000)  # makes the script fail, and nothing else
        await opened(frontend.tenant(f"{unique}-2"), data)
    finally:
        await client.delete(key)
        await client.aclose()


async def test_a_fleet_writes_once(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """Twenty tenants that want one blob at the same moment, through two frontends: one writes."""
    frontends = [await folder_fleet.frontend(**settings) for _ in range(2)]
    data, written = fill(LARGE), 0

    async def want(number: int) -> None:
        nonlocal written
        tenant = frontends[number % 2].tenant(f"{unique}-{number}")
        ended = False

        async def got() -> bool:
            nonlocal written, ended
            try:
                await tenant.info(sha256(data))
            except grpc.aio.AioRpcError:
                pass
            else:
                return True
            try:
                stream = await opened(tenant, data)
            except grpc.aio.AioRpcError as error:
                return error.code() is not UNAVAILABLE
            written += 1
            await stream.write_all(data)
            await stream.send(pb.COMMIT, offset=LARGE, expected=sha256(data))
            return True

        await eventually(got)

    await asyncio.gather(*(want(number) for number in range(20)))
    assert written == 1


@pytest.mark.parametrize(
    ("ref", "expected", "found"),
    [
        ("default/12/layer-{}", "", True),
        ("default/12/manifest-docker.io/library/redis:7@{}", "", True),
        ("holdfast-push-{}", "", True),
        ("{}", "", True),
        ("unknown", "{}", True),
        ("layer-{}-extra", "", False),
        ("layer-sha256:abc", "", False),
        ("ingest-1", "", False),
    ],
)
def test_the_digest_of_a_ref(ref: str, expected: str, *, found: bool) -> None:
    """A stream's digest is the declared one, or the one that ends its ref; a hint, no more."""
    digest = Digest.of(b"bytes")
    message = Message(Action.STAT, ref=ref.format(digest), expected=expected.format(digest))
    assert expected_of(message) == (digest if found else None)


async def test_the_fleet_is_asked_for_its_flights(
    folder_fleet: Fleet, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """Any frontend lists what the fleet writes: who leads, how far it is, and who waits."""
    one, two = [await folder_fleet.frontend(**settings) for _ in range(2)]
    data = fill(LARGE)
    stream = await opened(one.tenant(f"{unique}-1"), data)
    await stream.write_all(data[: 2**20])
    assert one.running.frontend.flights is not None
    await one.running.frontend.flights.report()
    for number in (2, 3):
        await waiting(two.tenant(f"{unique}-{number}"), data)
    reply = await flights(two)
    (found,) = [flight for flight in reply.flights if flight.digest == sha256(data)]
    assert (found.leader, found.offset, found.total) == (f"{unique}-1", 2**20, LARGE)
    assert (found.waiting, sorted(found.waiters)) == (2, [f"{unique}-2", f"{unique}-3"])


async def test_without_flights_none_are_listed(folder_fleet: Fleet) -> None:
    """A frontend whose tenants don't wait for one another answers with nothing."""
    frontend = await folder_fleet.frontend(flight=False)
    reply = await flights(frontend)
    assert not reply.flights


async def test_a_commit_that_waits_for_its_parts_is_progress(
    folder_fleet: Fleet, folder_store: ObjectStore, unique: str, fill: Fill
) -> None:
    """Others wait for a COMMIT whose parts are still under way, however long the store takes."""
    store, go_on = CountingStore(folder_store), threading.Event()
    store.before = lambda operation, _: waited(go_on) if operation == "put_part" else None
    frontend = await folder_fleet.frontend(store, flight_wait=WAIT, flight_patience=PATIENCE)
    data, second = fill(3 * LARGE), frontend.tenant(f"{unique}-2")
    stream = await opened(frontend.tenant(f"{unique}-1"), data)
    await stream.write_all(data)
    commit = asyncio.create_task(stream.send(pb.COMMIT, offset=len(data)))
    gate, sessions = frontend.running.frontend.flights, frontend.running.frontend.sessions
    assert gate is not None
    await eventually(lambda: any(session.committing for session in sessions.streams()))
    for _ in range(2):
        await lapse(folder_fleet, data)
        await gate.report()
        await waiting(second, data)
    go_on.set()
    await commit
    assert (await second.info(sha256(data))).size == len(data)


def waited(event: threading.Event) -> None:
    """Waits for an event in a thread of the store."""
    assert event.wait(60)


async def lapse(fleet: Fleet, data: bytes) -> None:
    """Has the flight of these bytes lapse at once."""
    client: Any = open_client(fleet.redis_url)
    try:
        assert await client.delete(flight(Digest.parse(sha256(data)))) == 1
    finally:
        await client.aclose()
