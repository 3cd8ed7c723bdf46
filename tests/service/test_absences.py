"""What was asked for and wasn't there spares a look; it never makes a reply wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode

from holdfast.coordination.arrivals import Arrivals
from holdfast.coordination.connection import open_client
from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.service.holdings.absences import ABSENCE_TTL, REMEMBERED, Absences
from holdfast.storage.port import ObjectStore
from tests.servers.process import free_port
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Stream, Tenant, eventually, refused, sha256
from tests.service.scrubbing import Clock
from tests.stores.counting import CountingStore

MIB = 2**20
SIZES = [4096, 100_000, 9 * MIB]


@pytest.fixture
async def arrivals(redis_url: str) -> AsyncIterator[Arrivals]:
    """What Redis tells."""
    client = open_client(redis_url)
    yield Arrivals(client)
    await client.aclose()


async def test_an_absence_runs_out(arrivals: Arrivals, unique: str) -> None:
    """What was absent counts for half an hour, and no longer."""
    clock, digest = Clock(), Digest.of(unique.encode())
    absences = Absences(arrivals, clock)
    assert not absences.recent(digest)
    absences.note(digest, absent=True)
    clock.time += ABSENCE_TTL - 1
    assert absences.recent(digest)
    assert await absences.likely(digest)
    clock.time += 1
    assert not absences.recent(digest)
    assert not await absences.likely(digest)


async def test_an_absence_ends(arrivals: Arrivals, unique: str) -> None:
    """What has become live here isn't absent any more, nor what others tell of."""
    digest = Digest.of(unique.encode())
    here, there = Absences(arrivals, Clock()), Absences(arrivals, Clock())
    here.note(digest, absent=True)
    there.note(digest, absent=True)
    await here.end(digest, tell=True)
    assert not here.recent(digest)
    assert there.recent(digest)
    assert not await there.likely(digest)


async def test_without_redis(unique: str) -> None:
    """Where Redis doesn't answer nothing counts as absent, and nothing fails."""
    client = open_client(f"redis://127.0.0.1:{free_port()}/0")
    absences, digest = Absences(Arrivals(client), Clock()), Digest.of(unique.encode())
    absences.note(digest, absent=True)
    assert not await absences.likely(digest)
    await absences.end(digest, tell=True)
    await client.aclose()


def test_memory_is_bounded(arrivals: Arrivals) -> None:
    """However much is asked for, only so much is remembered: the latest."""
    absences = Absences(arrivals, Clock())
    digests = [Digest.of(b"%d" % number) for number in range(REMEMBERED + 10)]
    for digest in digests:
        absences.note(digest, absent=True)
    assert [absences.recent(digest) for digest in digests[:11]] == [False] * 10 + [True]
    assert absences.recent(digests[-1])


async def asked(tenant: Tenant, data: bytes) -> Stream:
    """A stream with all bytes, by a tenant that was told before that nobody has them."""
    await refused(StatusCode.NOT_FOUND, tenant.info(sha256(data)))
    stream = tenant.write("ref")
    await stream.send(pb.STAT, total=len(data))
    await stream.write_all(data)
    return stream


async def durable(frontend: Frontend) -> None:
    """Waits until all that was received is in parts."""
    streams = [session._ingest.stream for session in frontend.running.frontend.sessions.streams()]
    await eventually(lambda: all(s.durable == s.offset for s in streams))


@pytest.mark.parametrize("size", SIZES)
async def test_no_look(
    folder_fleet: Fleet, folder_store: ObjectStore, fill: Fill, tenant: str, size: int
) -> None:
    """A COMMIT of what was asked for and absent reads no record."""
    store, data = CountingStore(folder_store), fill(size)
    stream = await asked((await folder_fleet.frontend(store)).tenant(tenant), data)
    store.calls.clear()
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert "get" not in store.operations("blobs/")


@pytest.mark.parametrize("size", SIZES)
async def test_the_same_tenant_was_faster(
    folder_fleet: Fleet, fill: Fill, tenant: str, size: int
) -> None:
    """A COMMIT of what its tenant committed elsewhere meanwhile is ALREADY_EXISTS."""
    data, here = fill(size), await folder_fleet.frontend()
    stream = await asked(here.tenant(tenant), data)
    await (await folder_fleet.frontend()).tenant(tenant).commit("other", data)
    await refused(StatusCode.ALREADY_EXISTS, stream.send(pb.COMMIT, expected=sha256(data)))
    assert await here.tenant(tenant).read(sha256(data)) == data
    assert await here.tenant(tenant).statuses() == []


@pytest.mark.parametrize("size", SIZES)
async def test_another_tenant_was_faster(
    folder_fleet: Fleet, fill: Fill, tenant: str, size: int
) -> None:
    """A COMMIT of what another tenant committed meanwhile succeeds, and makes a hold."""
    data, here = fill(size), await folder_fleet.frontend()
    stream = await asked(here.tenant(tenant), data)
    await (await folder_fleet.frontend()).tenant(f"{tenant}-b").commit("ref", data)
    reply = await stream.send(pb.COMMIT, expected=sha256(data), labels={"k": "v"})
    assert (reply.offset, reply.digest) == (size, sha256(data))
    (info,) = await here.tenant(tenant).list()
    assert dict(info.labels) == {"k": "v"}


async def test_many_nodes_push_one_layer(
    folder_fleet: Fleet, folder_store: ObjectStore, fill: Fill, tenant: str
) -> None:
    """Nodes that all asked, all uploaded, and commit one after the other leave one object."""
    data = fill(9 * MIB)
    frontends = [await folder_fleet.frontend() for _ in range(3)]
    streams = [
        await asked(frontend.tenant(f"{tenant}-{number}"), data)
        for number, frontend in enumerate(frontends)
    ]
    for frontend in frontends:
        await durable(frontend)
    for stream in streams:
        await stream.send(pb.COMMIT, expected=sha256(data))
        assert await stream.ended()
    await eventually(lambda: not list(folder_store.list_uploads("")))
    assert len(list(folder_store.list("data/"))) == 1


async def test_commits_at_the_same_moment(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Nodes that commit one layer at the same moment all hold it afterwards."""
    data = fill(9 * MIB)
    frontends = [await folder_fleet.frontend() for _ in range(3)]
    tenants = [frontend.tenant(f"{tenant}-{n}") for n, frontend in enumerate(frontends)]
    streams = [await asked(client, data) for client in tenants]
    await asyncio.gather(*(s.send(pb.COMMIT, expected=sha256(data)) for s in streams))
    for client in tenants:
        assert [info.digest for info in await client.list()] == [sha256(data)]
        assert await client.read(sha256(data)) == data


@pytest.mark.parametrize("sent", [b"", b"something else"])
@pytest.mark.parametrize("fields", [{"offset": 9}, {"total": 9}, {}], ids=str)
async def test_a_refusal_looks(
    folder_fleet: Fleet, fill: Fill, tenant: str, sent: bytes, fields: dict[str, int]
) -> None:
    """A COMMIT of what its tenant holds is ALREADY_EXISTS whatever it sent, absent as it was."""
    data, here = fill(1000), (await folder_fleet.frontend()).tenant(tenant)
    await refused(StatusCode.NOT_FOUND, here.info(sha256(data)))
    await (await folder_fleet.frontend()).tenant(tenant).commit("other", data)
    stream = here.write("ref")
    await stream.write_all(sent)
    commit = stream.send(pb.COMMIT, expected=sha256(data), **fields)
    await refused(StatusCode.ALREADY_EXISTS, commit)
    assert await here.statuses() == []


async def test_wrong_bytes(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Bytes other than those asked for are refused, as ever."""
    client, data = (await folder_fleet.frontend()).tenant(tenant), fill(1000)
    wanted = sha256(b"wanted" + data)
    await refused(StatusCode.NOT_FOUND, client.info(wanted))
    stream = client.write("ref")
    await stream.write_all(data)
    commit = stream.send(pb.COMMIT, expected=wanted)
    assert "unexpected commit digest" in await refused(StatusCode.FAILED_PRECONDITION, commit)
