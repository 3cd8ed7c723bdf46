"""Status, ListStatuses and Abort, as docs/wire.md specifies them."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.keys import Keys
from holdfast.protos import content_pb2 as pb
from holdfast.service.process.background import end
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, refused, sha256

MIB = 2**20


async def test_live_status(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Status of an active writer is live, from any frontend."""
    one, two = await fleet.frontend(), await fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    opened = await stream.send(pb.STAT, total=3 * MIB, expected=sha256(b"x"))
    await stream.write_all(fill(2 * MIB))

    async def live() -> bool:
        return (await two.tenant(tenant).status("ref")).offset == 2 * MIB

    await eventually(live)
    status = await two.tenant(tenant).status("ref")
    assert (status.ref, status.total, status.expected) == ("ref", 3 * MIB, sha256(b"x"))
    assert status.started_at == opened.started_at
    assert status.updated_at.ToNanoseconds() >= opened.updated_at.ToNanoseconds()


async def statuses_of(client: Tenant, ref: str) -> list[pb.Status]:
    """A ref's status, by each RPC that reports it."""
    return [await client.status(ref), *await client.statuses(f"ref=={ref}")]


@pytest.mark.parametrize("size", [240, 5000, 700_000])
async def test_status_is_exact(folder_fleet: Fleet, fill: Fill, tenant: str, size: int) -> None:
    """The frontend that is written to reports each WRITE that it has answered, at once."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream, body = client.write("ref"), fill(size)
    await stream.send(pb.STAT)
    for number in range(1, 101):
        written = await stream.send(pb.WRITE, offset=(number - 1) * size, data=body)
        for status in await statuses_of(client, "ref"):
            assert (status.offset, status.updated_at) == (number * size, written.updated_at)
            assert status.started_at == written.started_at


async def test_declarations_are_exact(folder_fleet: Fleet, tenant: str) -> None:
    """What a client has declared is reported at once, and so is a restart at 0."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    stream, digest = client.write("ref"), sha256(b"abc")
    for total in range(10, 30):
        await stream.send(pb.STAT, total=total, expected=digest)
        for status in await statuses_of(client, "ref"):
            assert (status.total, status.expected) == (total, digest)
        await stream.send(pb.WRITE, offset=0, data=bytes(total))
        assert [status.offset for status in await statuses_of(client, "ref")] == [total] * 2


@pytest.fixture
async def deaf(folder_fleet: Fleet) -> Frontend:
    """A frontend that doesn't hear of leases that are revoked elsewhere."""
    frontend = await folder_fleet.frontend()
    loops: list[Any] = list(frontend.running.loops)
    (listening,) = [loop for loop in loops if loop.get_coro().__name__ == "watch_lost"]
    assert await end([listening])
    return frontend


async def test_a_ref_that_moved(folder_fleet: Fleet, deaf: Frontend, tenant: str) -> None:
    """A frontend that doesn't know yet that its stream lost a ref reports what the new one does."""
    here, there = deaf.tenant(tenant), (await folder_fleet.frontend()).tenant(tenant)
    old = here.write("ref")  # kept, since gRPC ends the stream of a call that nobody keeps
    await old.send(pb.WRITE, data=b"seven b")
    (session,) = deaf.running.frontend.sessions.streams()
    await eventually(lambda: not session.untold)  # a later report would learn of the loss
    await there.abort("ref")
    assert await here.statuses() == []
    await refused(StatusCode.NOT_FOUND, here.status("ref"))
    new = there.write("ref")
    await new.send(pb.WRITE, data=b"new")

    async def told() -> bool:
        offsets = {status.offset for status in await statuses_of(here, "ref")}
        assert offsets <= {0, len("new")}
        return offsets == {len("new")}

    await eventually(told)
    assert not session.lease.lost


async def test_a_lease_that_redis_lost(folder_fleet: Fleet, deaf: Frontend, tenant: str) -> None:
    """Without a lease in Redis nobody counts as writing, and only durable bytes are reported."""
    client = deaf.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"seven b")
    redis = open_client(folder_fleet.redis_url)
    await redis.delete(Keys(tenant).lease("ref"))
    await close_client(redis)
    assert [status.offset for status in await statuses_of(client, "ref")] == [0, 0]


async def test_a_lease_that_has_passed(folder_fleet: Fleet, tenant: str) -> None:
    """A stream that has lost its lease by its own clock is no longer asked."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"seven b")
    (session,) = frontend.running.frontend.sessions.streams()
    found = await frontend.running.frontend.ingests.find(tenant, "ref")
    assert found
    assert session.latest(found).live == len("seven b")
    session.lease.deadline = session.lease.clock()
    assert session.latest(found) is found


@pytest.mark.parametrize("size", [1000, 9 * MIB])
async def test_updated_at_is_the_last_write(
    fleet: Fleet, fill: Fill, tenant: str, size: int
) -> None:
    """Making bytes durable when a stream ends doesn't move updated_at, however late it is."""
    one, two = await fleet.frontend(), await fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    await stream.write_all(fill(size))
    written = await stream.send(pb.STAT)

    async def told() -> bool:
        return (await two.tenant(tenant).status("ref")).offset == size

    await eventually(told)
    await stream.half_close()
    assert (await two.tenant(tenant).status("ref")).updated_at == written.updated_at
    again = await two.tenant(tenant).write("ref").send(pb.STAT)
    assert (again.offset, again.updated_at) == (size, written.updated_at)


async def test_unknown_ref(folder_fleet: Fleet, tenant: str) -> None:
    """Status of an unknown ref is NOT_FOUND; Abort of one is OK."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    assert "no-such" in await refused(StatusCode.NOT_FOUND, client.status("no-such"))
    await client.abort("no-such")


async def test_malformed_refs(folder_fleet: Fleet, tenant: str) -> None:
    """A malformed ref is INVALID_ARGUMENT to Status and Abort."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for ref in ("", "a\0b", "r" * 1025, "é" * 513):
        await refused(StatusCode.INVALID_ARGUMENT, client.status(ref))
        await refused(StatusCode.INVALID_ARGUMENT, client.abort(ref))


async def test_statuses(fleet: Fleet, tenant: str) -> None:
    """ListStatuses gives this tenant's refs only, through filters."""
    frontend = await fleet.frontend()
    client = frontend.tenant(tenant)
    refs = ["default/1/layer-a", "default/1/layer b", "ünïcode", "x" * 1024]
    for ref in refs:
        stream = client.write(ref)
        await stream.send(pb.WRITE, data=b"abc")
        await stream.half_close()
    await frontend.tenant(f"{tenant}-b").write("other").send(pb.STAT)
    statuses = await client.statuses()
    assert {status.ref for status in statuses} == set(refs)
    assert {status.offset for status in statuses} == {3}
    assert {s.ref for s in await client.statuses("ref~=layer")} == set(refs[:2])
    assert [s.ref for s in await client.statuses(f'ref=="{refs[0]}"')] == refs[:1]


async def test_abort_takes_the_ref(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Abort takes a ref from its writer at once, on whatever frontend it writes."""
    one, two = await fleet.frontend(), await fleet.frontend()
    stream = one.tenant(tenant).write("ref")
    await stream.write_all(fill(9 * MIB))
    await two.tenant(tenant).abort("ref")
    fresh = two.tenant(tenant).write("ref")
    assert (await fresh.send(pb.WRITE, data=b"new")).offset == len("new")

    async def lost() -> bool:
        return all(session.lease.lost for session in one.running.frontend.sessions.streams())

    await eventually(lost)
    await refused(StatusCode.ABORTED, stream.send(pb.WRITE, offset=9 * MIB, data=b"x"))
    assert (await fresh.send(pb.COMMIT)).digest == sha256(b"new")
    await eventually(lambda: not list(fleet.store.list_uploads("data/")))


async def test_abort_drops_what_is_left(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Abort of an idle ingest drops its upload and its tail."""
    client = (await fleet.frontend()).tenant(tenant)
    stream = client.write("ref")
    await stream.write_all(fill(9 * MIB))
    await stream.half_close()
    assert list(fleet.store.list("tails/"))
    await client.abort("ref")
    assert await client.statuses() == []
    await eventually(lambda: not [*fleet.store.list_uploads("data/"), *fleet.store.list("tails/")])
    assert (await client.write("ref").send(pb.STAT)).offset == 0


async def test_abort_after_commit(folder_fleet: Fleet, tenant: str) -> None:
    """Abort of a ref that was committed is OK and leaves the blob alone."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello")
    await client.abort("ref")
    assert await client.read(sha256(b"hello")) == b"hello"
