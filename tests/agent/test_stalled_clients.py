"""Clients of an agent that stop in mid-message keep neither room nor streams from others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.service.ingest import arrival
from holdfast.service.rpc import first_messages
from tests.agent.stage import Agent, agent_of
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, sha256
from tests.service.test_half_messages import Halves, stat
from tests.transport.raw_client import connected, message

MIB = 2**20
BUDGET = 32 * MIB
LARGE = 15 * MIB
BEFORE = b"received before"


@asynccontextmanager
async def halves_of(agent: Agent, part: int) -> AsyncIterator[Halves]:
    """Clients of an agent that send so many bytes of their last message."""
    async with connected(agent.port) as raw:
        await raw.greet()
        halves = Halves(raw, part)
        sending = asyncio.create_task(halves.run())
        try:
            yield halves
        finally:
            sending.cancel()


@pytest.fixture
async def agent(folder_fleet: Fleet, tenant: str) -> AsyncIterator[Agent]:
    """An agent whose streams may keep little more than two of the largest messages."""
    frontend = await folder_fleet.frontend()
    address = f"127.0.0.1:{frontend.port}"
    async with agent_of([address], tenant, agent_replay_budget=BUDGET) as made:
        yield made


async def stop_within(halves: Halves, agent: Agent) -> None:
    """Two clients write a few bytes, and stop within messages that take all room."""
    begun = pb.WriteContentRequest(action=pb.WRITE, data=BEFORE).SerializeToString()
    for number in (1, 3):
        before = stat(f"half-{number}") + message(begun)
        await halves.begin(number, "", LARGE, before)
    await eventually(lambda: room_of(agent) < 3 * MIB and halves.stuck == 2)


def room_of(agent: Agent) -> int:
    """The free bytes."""
    return agent.running.parts.writes._path.room.free


async def test_clients_that_stop(agent: Agent, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that stands still ends its stream once others wait, and loses only itself."""
    monkeypatch.setattr(arrival, "PATIENCE", 0.2)
    body = fill(8 * MIB)
    async with halves_of(agent, MIB) as halves:
        await stop_within(halves, agent)
        stream = agent.tenant.write("whole")
        await stream.send(pb.WRITE, data=body)
        assert (await stream.send(pb.COMMIT, offset=len(body))).digest == sha256(body)
        await eventually(lambda: halves.ended)
        for ended in halves.ended.values():
            assert int(ended["grpc-status"]) == StatusCode.UNAVAILABLE.value[0]
            assert "STAT" in ended["grpc-message"]
        for number in halves.ended:
            stream = agent.tenant.write(f"half-{number}")
            assert (await stream.send(pb.STAT)).offset == len(BEFORE)
            await stream.half_close()
    await eventually(lambda: room_of(agent) == BUDGET)


async def test_room_that_no_frontend_can_release(agent: Agent, fill: Fill) -> None:
    """Streams aren't begun anew for the sake of bytes that haven't come."""
    writes = agent.running.parts.writes
    room = writes._path.room
    async with halves_of(agent, MIB) as halves:
        await stop_within(halves, agent)
        relays = list(writes._relays)
        writing = asyncio.create_task(agent.tenant.commit("whole", fill(20 * MIB)))
        for relay in relays:
            relay._silent_since -= 10.0
        await eventually(lambda: room.reliefs > 8)
        before = [relay._passage.stream for relay in relays]
        await eventually(lambda: room.reliefs > 16)
        assert before == [relay._passage.stream for relay in relays]
        writing.cancel()


@pytest.mark.parametrize("announced", [4096, LARGE])
async def test_a_first_message_that_stands_still(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, announced: int
) -> None:
    """A stream whose first message stops coming ends, though nobody waits for its room."""
    monkeypatch.setattr(first_messages, "STILL", 0.1)
    async with halves_of(agent, announced // 2) as halves:
        await halves.begin(1, "", announced)
        await eventually(lambda: halves.ended)
        assert int(halves.ended[1]["grpc-status"]) == StatusCode.UNAVAILABLE.value[0]
    silent = agent.tenant.stub.Write(timeout=30)
    assert await silent.code() is StatusCode.UNAVAILABLE
    await eventually(lambda: room_of(agent) == BUDGET)
