"""A write stream that lost its frontend continues its own bytes, and never those of others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.relay import SILENCE, WriteRelay
from holdfast.service.ingest.write_messages import Reply
from holdfast.service.rpc import messages, wire
from holdfast.transport.status import Code, Status
from tests.agent.stage import Agent, agent_of
from tests.agent.test_lost_frontends import agent, carrier, cut, rolling, served
from tests.servers.cutting_proxy import CuttingProxy
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, refused, sha256
from tests.service.rolling import Rolling
from tests.service.sender import Sender

__all__ = ["agent", "cut", "rolling"]

MIB = 2**20
Cut = tuple[Agent, CuttingProxy, Fleet]


async def is_free(node: Tenant, ref: str) -> None:
    """Waits until no stream writes a ref."""
    while True:
        stream = node.write(ref)
        try:
            await stream.send(pb.STAT)
        except grpc.aio.AioRpcError as error:
            if error.code() is not StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.05)
        else:
            await stream.call.done_writing()
            assert await stream.ended()
            return


def relay_of(agent: Agent, tenant: str, ref: str) -> WriteRelay:
    """What carries the stream that writes a ref."""
    return agent.running.parts.writes._open[tenant, ref]


def silent(relay: WriteRelay) -> WriteRelay:
    """The same, as if its client had been silent for long enough."""
    relay._silent_since -= 2 * SILENCE
    return relay


async def replaced(other: Tenant, body: bytes) -> None:
    """Another writer begins the ref anew, with bytes of its own, and leaves."""
    await is_free(other, "ref")
    stream = other.write("ref")
    await stream.send(pb.WRITE, offset=0, data=body)
    await stream.call.done_writing()
    assert await stream.ended()


@pytest.mark.parametrize("theirs", [MIB, 2 * MIB])
@pytest.mark.parametrize("kept", [True, False])
async def test_another_writer_has_begun_the_ref_anew(
    cut: Cut, tenant: str, fill: Fill, theirs: int, *, kept: bool
) -> None:
    """A stream whose ref has other bytes is ABORTED, wherever those end, and adds none to them."""
    agent, proxy, fleet = cut
    other = (await fleet.frontend()).tenant(tenant)
    mine, foreign = fill(2 * MIB), fill(theirs)
    stream = agent.tenant.write("ref")
    await stream.send(pb.WRITE, data=mine[:MIB])
    if not kept:
        await silent(relay_of(agent, tenant, "ref")).relieve()
        assert agent.running.parts.writes._path.room.free == 128 * MIB
    proxy.close()
    await replaced(other, foreign)

    async def rest() -> None:
        await stream.send(pb.WRITE, offset=MIB, data=mine[MIB:])
        await stream.send(pb.COMMIT, offset=2 * MIB)

    await refused(StatusCode.ABORTED, rest())
    await is_free(other, "ref")
    assert (await other.status("ref")).offset == theirs


async def test_an_abort_stays_one(cut: Cut, tenant: str, fill: Fill) -> None:
    """A ref that was aborted while its stream had no frontend isn't made again by it."""
    agent, proxy, fleet = cut
    other = (await fleet.frontend()).tenant(tenant)
    mine = fill(2 * MIB)
    stream = agent.tenant.write("ref")
    await stream.send(pb.WRITE, data=mine[:MIB])
    proxy.close()
    await is_free(other, "ref")
    await other.abort("ref")
    await refused(StatusCode.ABORTED, stream.send(pb.WRITE, offset=MIB, data=mine[MIB:]))
    await eventually(lambda: len(agent.running.parts.writes) == 0)
    assert await other.statuses() == []


async def test_an_abort_that_relief_meets(cut: Cut, tenant: str, fill: Fill) -> None:
    """If the agent itself learns that a ref was aborted, its stream ends, and makes no new ref."""
    agent, proxy, fleet = cut
    other = (await fleet.frontend()).tenant(tenant)
    stream = agent.tenant.write("ref")
    await stream.send(pb.WRITE, data=fill(MIB))
    relay = relay_of(agent, tenant, "ref")
    proxy.close()
    await eventually(lambda: relay._passage.stream is None or relay._passage.stream._call.done())
    await is_free(other, "ref")
    await other.abort("ref")
    for _ in range(2):  # the first one meets the lost connection
        await silent(relay).relieve()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.call.read()
    assert caught.value.code() is StatusCode.ABORTED
    await eventually(lambda: len(agent.running.parts.writes) == 0)
    assert await other.statuses() == []


async def test_who_waits_for_room_learns_of_the_end(cut: Cut, tenant: str, fill: Fill) -> None:
    """A client that waits for room when its ref is aborted gets ABORTED, and leaves no ref."""
    agent, _, fleet = cut
    other, room = (await fleet.frontend()).tenant(tenant), agent.running.parts.writes._path.room
    stream = agent.tenant.write("ref")
    await stream.send(pb.WRITE, data=fill(MIB))
    taken, room.free = room.free, 0
    write = asyncio.ensure_future(stream.send(pb.WRITE, offset=MIB, data=fill(MIB)))
    await eventually(lambda: room.waiting == 1)
    await other.abort("ref")
    await refused(StatusCode.ABORTED, write)
    room.release(taken)
    await eventually(lambda: room.free == room.size)
    assert await other.statuses() == []


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_client_leaves_after_a_loss(
    rolling: Rolling, agent: Agent, tenant: str, fill: Fill, *, noticed: bool
) -> None:
    """What was acknowledged is made durable though its frontend died and its client leaves."""
    body, node = fill(3 * MIB), agent.tenant
    stream = node.write("ref")
    await stream.write_all(body)
    relay = relay_of(agent, tenant, "ref")
    served(rolling, carrier(agent, tenant, "ref")).kill()
    if noticed:
        passage = relay._passage
        await eventually(lambda: passage.stream is None or passage.stream._call.done())
        relay._passage.drop()
    await stream.call.done_writing()

    async def durable() -> bool:
        return (await node.status("ref")).offset == len(body)

    await eventually(durable)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_commit_of_another_size(cut: Cut, fill: Fill, *, lost: bool) -> None:
    """A COMMIT at a wrong offset is OUT_OF_RANGE, also at the next frontend."""
    agent, proxy, _ = cut
    stream = agent.tenant.write("ref")
    await stream.send(pb.WRITE, data=fill(100))
    if lost:
        proxy.close()
    await refused(StatusCode.OUT_OF_RANGE, stream.send(pb.COMMIT, offset=50))


@pytest.mark.parametrize("expected", [True, False])
async def test_what_cant_be_compared(cut: Cut, tenant: str, fill: Fill, *, expected: bool) -> None:
    """A stream whose bytes can't be compared is committed only if its client names the digest."""
    agent, proxy, _ = cut
    body, node = fill(3 * MIB), agent.tenant
    stream = node.write("ref")
    await stream.send(pb.WRITE, data=body[:MIB])
    await silent(relay_of(agent, tenant, "ref")).relieve()  # the first MiB isn't kept any more
    proxy.lose_reply_to(body[2 * MIB - 100 : 2 * MIB - 50])
    await stream.send(pb.WRITE, offset=MIB, data=body[MIB : 2 * MIB])
    assert proxy.cuts == 1
    await stream.send(pb.WRITE, offset=2 * MIB, data=body[2 * MIB :])
    commit = {"expected": sha256(body)} if expected else {}
    sent = stream.send(pb.COMMIT, offset=len(body), **commit)
    if expected:
        assert (await sent).digest == sha256(body)
    else:
        await refused(StatusCode.ABORTED, sent)


async def test_a_frontend_that_does_not_say_what_it_has_kept(
    folder_fleet: Fleet, tenant: str, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob larger than the budget passes, because what a stream's end made durable is dropped."""
    real = messages.write_response

    def without_kept(reply: Reply, *, kept: bool) -> pb.WriteContentResponse:
        return real(reply, kept=kept and False)

    monkeypatch.setattr(messages, "write_response", without_kept)
    frontend, body = await folder_fleet.frontend(), fill(40 * MIB)
    async with AsyncExitStack() as stack:
        address = f"127.0.0.1:{frontend.port}"
        agent = await stack.enter_async_context(
            agent_of([address], tenant, agent_replay_budget=32 * MIB)
        )
        stream = agent.tenant.write("ref")
        await asyncio.wait_for(stream.write_all(body), 25)
        assert (await stream.send(pb.COMMIT, offset=len(body))).digest == sha256(body)


async def test_relief_before_the_first_message(cut: Cut, tenant: str) -> None:
    """A stream whose first message is still coming isn't asked for anything."""
    agent, _, _ = cut
    client = Sender()
    relay = WriteRelay(agent.running.parts.writes._path, tenant, client, lambda _: True)
    await relay.admit(MIB)
    await silent(relay).relieve()
    assert client.errors == []
    raw = pb.WriteContentRequest(action=pb.STAT, ref="ref").SerializeToString()
    assert (await relay.ask(wire.read_write_request(raw), raw)).offset == 0
    await relay.close()


async def test_an_end_between_two_messages_that_passes(cut: Cut, tenant: str, fill: Fill) -> None:
    """A frontend that can't reach its Redis for a moment ends a stream that then continues."""
    agent, _, _ = cut
    stream = agent.tenant.write("ref")
    await stream.send(pb.WRITE, data=fill(100))
    relay = relay_of(agent, tenant, "ref")
    relay._passage.ended(Status(Code.UNAVAILABLE, "Redis can't be reached"))
    assert (await stream.send(pb.STAT)).offset == 100


def lose_lease(frontend: Frontend, *, noticed: bool = True) -> None:
    """A frontend was paused for so long that its stream's lease has expired; it may notice."""
    (session,) = frontend.running.frontend.sessions.streams()
    session.lease.deadline = session.lease.clock()
    if noticed:
        session.lease.cancel_work()


@pytest.mark.parametrize("noticed", [True, False])
async def test_an_expired_lease(
    folder_fleet: Fleet, tenant: str, fill: Fill, *, noticed: bool
) -> None:
    """A stream whose frontend couldn't renew its lease continues, with all bytes."""
    frontend, body = await folder_fleet.frontend(), fill(3 * MIB)
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant) as agent:
        stream = agent.tenant.write("ref")
        began = (await stream.send(pb.WRITE, data=body[:MIB])).started_at
        await stream.send(pb.WRITE, offset=MIB, data=body[MIB : 2 * MIB])
        lose_lease(frontend, noticed=noticed)
        if noticed:  # between two messages
            await eventually(lambda: relay_of(agent, tenant, "ref")._passage.stream is None)
        reply = await stream.send(pb.WRITE, offset=2 * MIB, data=body[2 * MIB :])
        assert (reply.offset, reply.digest) == (3 * MIB, sha256(body))
        lose_lease(frontend, noticed=noticed)
        reply = await stream.send(pb.COMMIT, offset=3 * MIB)
        assert (reply.digest, reply.started_at) == (sha256(body), began)


async def test_an_abort_after_an_expired_lease(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """A ref that was aborted while its lease was lost isn't made again."""
    frontend = await folder_fleet.frontend()
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant) as agent:
        stream = agent.tenant.write("ref")
        await stream.write_all(fill(2 * MIB))
        relay = relay_of(agent, tenant, "ref")
        lose_lease(frontend)
        await eventually(lambda: relay._passage.stream is None)
        await frontend.tenant(tenant).abort("ref")
        await refused(StatusCode.ABORTED, stream.send(pb.WRITE, offset=2 * MIB, data=b"more"))
        await eventually(lambda: len(agent.running.parts.writes) == 0)
        assert await frontend.tenant(tenant).statuses() == []
