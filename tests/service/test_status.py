"""Status, ListStatuses and Abort, as docs/wire.md specifies them."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256

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
