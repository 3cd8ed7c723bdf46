"""What an agent keeps in order to send it again stays in its budget, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import ResourceExhausted
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.replay import PIECE, Replay
from holdfast.service.agent.room import EXCESS, FEW, ReplayRoom
from holdfast.service.process.background import Background
from tests.agent.stage import agent_of
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, sha256

MIB = 2**20
BUDGET = 32 * MIB


class Nobody:
    """A stream that can't release anything."""

    reliefs = 0

    async def relieve(self) -> None:
        """Counts that it was asked."""
        self.reliefs += 1


def room_of(size: int) -> ReplayRoom:
    """A room of so many bytes."""
    return ReplayRoom(size, Background().start)


async def test_first_come_first_served() -> None:
    """Who waits is served in turn, and a later, smaller request doesn't pass it."""
    room = room_of(100_000)
    first, second, third = (room.join(Nobody()) for _ in range(3))
    await first.take(90_000)
    waits = asyncio.ensure_future(second.take(50_000))
    later = asyncio.ensure_future(third.take(9_000))
    await asyncio.sleep(0)
    assert not waits.done()
    assert not later.done()
    first.give_back(60_000)
    await asyncio.gather(waits, later)
    assert room.free == 100_000 - 30_000 - 50_000 - 9_000


async def test_a_few_bytes_never_wait() -> None:
    """A STAT is received however full the room is, up to a bound."""
    room = room_of(100_000)
    share = room.join(Nobody())
    await share.take(100_000)
    for _ in range(100_000 // EXCESS // FEW + 1):
        await asyncio.wait_for(share.take(FEW), 5)
    assert room.free == -7 * FEW
    waits = asyncio.ensure_future(share.take(FEW))
    await asyncio.sleep(0)
    assert not waits.done()
    share.give_back(2 * FEW)
    share.close()
    await waits
    assert room.free == 100_000


async def test_who_is_refused_and_leaves_gives_nothing_back() -> None:
    """A request that is refused, and cancelled in the same moment, has no bytes to return."""
    room = room_of(100_000)
    first, second = (room.join(Nobody()) for _ in range(2))
    await first.take(90_000)
    waits = asyncio.ensure_future(second.take(50_000))
    await asyncio.sleep(0)
    second.refuse(ResourceExhausted("ended"))
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert room.free == 10_000


async def test_who_leaves_while_waiting_takes_nothing() -> None:
    """A request that is cancelled, or whose share is closed, leaves the room as it was."""
    room = room_of(100_000)
    first, second = room.join(Nobody()), room.join(Nobody())
    await first.take(90_000)
    waits = asyncio.ensure_future(second.take(50_000))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert room.waiting == 0
    first.close()
    second.close()
    assert room.free == 100_000


async def test_who_leaves_leaves_others_in_their_places() -> None:
    """A request that is cancelled behind another one makes no room for that."""
    room = room_of(100_000)
    full, first, second = (room.join(Nobody()) for _ in range(3))
    await full.take(90_000)
    waits = asyncio.ensure_future(first.take(50_000))
    leaves = asyncio.ensure_future(second.take(80_000))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert (room.waiting, room.free, waits.done()) == (1, 10_000, False)
    full.close()
    await waits
    assert room.free == 50_000


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_who_leaves_as_its_turn_comes(*, leaves_first: bool) -> None:
    """Bytes that are granted to somebody who leaves at that moment are free again."""
    room = room_of(100_000)
    full, second = room.join(Nobody()), room.join(Nobody())
    await full.take(90_000)
    waits = asyncio.ensure_future(second.take(50_000))
    await asyncio.sleep(0)
    if leaves_first:
        waits.cancel()
        full.close()
    else:
        full.close()
        waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert (room.waiting, room.free, second.kept) == (0, 100_000, 0)


async def test_a_share_that_is_closed_while_it_waits() -> None:
    """What is granted to a stream that has ended is free again."""
    room = room_of(100_000)
    full, second = room.join(Nobody()), room.join(Nobody())
    await full.take(90_000)
    waits = asyncio.ensure_future(second.take(50_000))
    await asyncio.sleep(0)
    second.close()
    full.close()
    await waits
    assert (room.free, second.kept) == (100_000, 0)


async def test_more_than_all_of_it() -> None:
    """A message that never fits is refused, with the setting to raise."""
    with pytest.raises(ResourceExhausted, match="HOLDFAST_AGENT_REPLAY_BUDGET"):
        await room_of(100_000).join(Nobody()).take(100_001)


async def test_who_keeps_bytes_is_asked_to_release_them() -> None:
    """While a stream waits, those that keep bytes are asked again and again."""
    room, keeper = room_of(100_000), Nobody()
    share = room.join(keeper)
    await share.take(90_000)
    waits = asyncio.ensure_future(room.join(Nobody()).take(50_000))
    await eventually(lambda: keeper.reliefs >= 2)
    share.close()
    await waits


async def test_bytes_are_joined_and_dropped_in_pieces() -> None:
    """Small messages are joined; what is durable is dropped, and its room is free again."""
    room = room_of(100 * MIB)
    share = room.join(Nobody())
    replay, body = Replay(share), bytes(range(256)) * (12 * 1024)
    await share.take(len(body))
    for start in range(0, len(body), 240):
        replay.append(memoryview(body)[start : start + 240])
    assert (replay.start, replay.end) == (0, len(body))
    replay.drop(PIECE - 300)
    assert replay.start == 0
    replay.drop(2 * PIECE)
    assert 0 < replay.start <= 2 * PIECE
    assert share.kept == len(body) - replay.start
    offset, found = replay.start + 7, b""
    while piece := replay.read(offset + len(found)):
        found += piece
    assert found == body[offset:]
    replay.drop(len(body))
    assert (replay.start, share.kept, replay.read(replay.start)) == (len(body), 0, b"")


async def test_more_streams_than_the_budget_has_room_for(
    folder_fleet: Fleet, tenant: str, fill: Fill
) -> None:
    """Streams with a piece of a part each, of more bytes than the budget, are all committed."""
    frontend = await folder_fleet.frontend()
    address, least = f"127.0.0.1:{frontend.port}", BUDGET
    bodies = [fill(7 * MIB) for _ in range(10)]
    async with agent_of([address], tenant, agent_replay_budget=BUDGET) as agent:
        streams = [agent.tenant.write(f"ref-{number}") for number in range(len(bodies))]
        room = agent.running.parts.writes._path.room

        async def first(number: int) -> None:
            nonlocal least
            for start in range(0, 5 * MIB, MIB):
                data = bodies[number][start : start + MIB]
                await streams[number].send(pb.WRITE, offset=start, data=data)
                least = min(least, room.free)

        await asyncio.gather(*map(first, range(len(bodies))))
        assert room.reliefs > 0
        for stream, body in zip(streams, bodies, strict=True):
            await stream.write_all(body, 5 * MIB)
            reply = await stream.send(pb.COMMIT, offset=len(body))
            assert reply.digest == sha256(body)
        assert least >= 0
        assert agent.counted("holdfast_agent_replay_waiting") == 0
    assert room.free == BUDGET


async def test_what_is_durable_is_dropped(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """A blob larger than the budget passes through it, without a pause for anybody's silence."""
    frontend, body = await folder_fleet.frontend(), fill(3 * BUDGET)
    async with agent_of(
        [f"127.0.0.1:{frontend.port}"], tenant, agent_replay_budget=BUDGET
    ) as agent:
        reply = await agent.tenant.commit("ref", body)
        assert reply.digest == sha256(body)
    assert frontend.counted("holdfast_stored_bytes_total") == len(body)
