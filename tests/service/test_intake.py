"""Messages on their way in: how many may be read at once, of all streams."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service import frontend as wiring
from holdfast.service.ingest import intake as intake_module
from holdfast.service.ingest.arrival import MOMENT, PATIENCE, SLOWEST
from holdfast.service.ingest.intake import (
    LANE,
    SILENCE,
    SMALL,
    STEP,
    UNKNOWN,
    WINDOW,
    Admission,
    Intake,
)
from holdfast.service.rpc.grpcio import OPTIONS
from tests.service.fleet import HEADER, Fleet, Tenant, eventually
from tests.service.processes import serving
from tests.service.sender import Sender

MIB = 2**20


@dataclass
class Clock:
    """A time that only tests move."""

    at: float = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """The intake's clock."""
    return Clock()


@pytest.fixture
def intake(clock: Clock) -> Intake:
    """Room for four messages of 1 MiB."""
    return Intake(4 * MIB, clock)


async def known(intake: Intake, largest: int = MIB) -> Admission:
    """A stream whose largest message is known, and carried out."""
    admission = intake.stream()
    await admission.ask(None)
    admission.came(largest)
    admission.handled()
    return admission


async def asking(admission: Admission, lacking: int | None = None) -> asyncio.Task[int]:
    """A stream that asks for its next message, as far as it comes."""
    task = asyncio.create_task(admission.ask(lacking))
    await asyncio.sleep(0)
    return task


async def test_full(intake: Intake) -> None:
    """A message that doesn't fit beside the others waits until one of them is carried out."""
    streams = [await known(intake) for _ in range(5)]
    asked = [await asking(stream) for stream in streams]
    assert [task.done() for task in asked] == [True] * 4 + [False]
    streams[0].came(MIB)
    await asyncio.sleep(0)
    assert not asked[4].done()
    streams[0].handled()
    await asked[4]
    assert intake.free == 0


async def test_a_first_message_never_waits(intake: Intake) -> None:
    """A new stream is asked what it wants at once: its first message has no data as a rule."""
    for _ in range(4):
        await (await known(intake)).ask(None)
    await intake.stream().ask(None)
    assert intake.free == 0


async def test_a_stream_that_has_sent_nothing_yet(intake: Intake) -> None:
    """Before its first data a stream is taken to send containerd's largest message."""
    stream = await known(intake, 0)
    await stream.ask(None)
    assert intake.free == 4 * MIB - UNKNOWN


@pytest.mark.parametrize(("largest", "lacking"), [(240, None), (WINDOW, None), (MIB, 0)])
async def test_small_messages_never_wait(intake: Intake, largest: int, lacking: int | None) -> None:
    """Small messages, and COMMIT of a blob that is complete, don't wait for large ones."""
    for _ in range(4):
        await (await known(intake)).ask(None)
    stream = await known(intake, largest)
    await stream.ask(lacking)
    assert intake.waiting == 0


async def test_more_than_declared(intake: Intake) -> None:
    """Who sends more than it declared isn't let past the others by its declaration."""
    for _ in range(4):
        await (await known(intake)).ask(None)
    asked = await asking(await known(intake), -1)
    assert not asked.done()
    asked.cancel()


async def test_larger_than_all(intake: Intake) -> None:
    """A message that is larger than all there is takes all there is, and no deadlock."""
    stream = await known(intake, 9 * MIB)
    await stream.ask(None)
    stream.came(9 * MIB)
    assert intake.free == -5 * MIB
    asked = await asking(await known(intake))
    assert not asked.done()
    stream.handled()
    await asked


async def test_silence_is_lent(intake: Intake, clock: Clock) -> None:
    """What a silent stream has goes to one that waits; what it then sends counts all the same."""
    silent = [await known(intake) for _ in range(4)]
    for stream in silent:
        await stream.ask(None)
    waits = await known(intake)
    asked = await asking(waits)
    intake.lend()
    assert not asked.done()
    clock.at += SILENCE
    intake.lend()
    await asked
    silent[0].came(MIB)
    assert intake.free == -MIB
    more = await asking(await known(intake))
    intake.lend()  # the other three are silent, too
    await more
    assert intake.free == -MIB + 2 * MIB - MIB


async def test_silence_of_one_that_waited_itself(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that got its share late, and is silent then, doesn't stop the one behind it."""
    large, *others = [await known(intake, 4 * MIB) for _ in range(3)]
    await large.ask(None)
    large.came(4 * MIB)
    waits = [await asking(stream) for stream in others]
    assert not any(task.done() for task in waits)
    monkeypatch.setattr(intake_module, "SILENCE", 0.0)
    large.handled()
    await asyncio.gather(*waits)
    assert intake.waiting == 0


async def test_slow_streams_take_no_share(intake: Intake, clock: Clock) -> None:
    """A stream whose messages are long in coming takes no share until one comes quickly."""
    slow = await known(intake)
    await slow.ask(None)
    clock.at += SILENCE
    slow.came(MIB)
    slow.handled()
    await slow.ask(None)
    assert intake.free == 4 * MIB
    slow.came(MIB)
    slow.handled()
    await slow.ask(None)
    assert intake.free == 3 * MIB


async def test_whoever_leaves_the_queue_blocks_nobody(intake: Intake) -> None:
    """A client that goes away while its stream waits lets those behind it pass."""
    for _ in range(3):
        await (await known(intake)).ask(None)
    large, small = await asking(await known(intake, 2 * MIB)), await asking(await known(intake))
    assert not large.done()
    assert not small.done()
    large.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert small.done()
    assert intake.waiting == 0


async def test_nothing_is_lost(intake: Intake, clock: Clock) -> None:
    """Whatever order streams ask, send, go silent and leave in, all is free in the end."""
    source = random.Random(1)  # noqa: S311 -- no secret

    async def stream() -> None:
        admission = intake.stream()
        try:
            for _ in range(source.randrange(8)):
                await admission.ask(source.choice([None, 0, MIB // 2]))
                await asyncio.sleep(0)
                clock.at += source.choice([0, 0, SILENCE])
                intake.lend()
                admission.came(source.randrange(3 * MIB))
                await asyncio.sleep(0)
                admission.handled()
        finally:
            admission.handled()

    tasks = [asyncio.create_task(stream()) for _ in range(60)]
    for task in tasks[::7]:
        await asyncio.sleep(0)
        task.cancel()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        clock.at += SILENCE
        intake.lend()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (intake.free, intake.waiting) == (intake.size, 0)


async def test_idle_clients_stop_nobody(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams whose clients are silent for hours don't keep others from writing."""
    monkeypatch.setattr(wiring, "SIZE", MIB)
    monkeypatch.setattr(intake_module, "SILENCE", 0.05)
    frontend = await folder_fleet.frontend()
    client, intake = frontend.tenant(tenant), frontend.running.frontend.intake
    idle = [client.write(f"idle-{n}") for n in range(3)]
    for stream in idle:
        await stream.send(pb.STAT)
    data = bytes(2 * MIB)
    await client.commit("ref", data)
    for stream in idle:
        await stream.half_close()
    await eventually(lambda: intake.free == MIB)


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    """200 writers at once keep a frontend within 250 MiB and its buffer budget."""
    streams, connections, rounds, budget = 200, 8, 3, 64 * MIB
    piece = random.Random(2).randbytes(MIB)  # noqa: S311 -- no secret

    async def write(client: Tenant, ref: str) -> None:
        stream = client.write(ref)
        await stream.send(pb.STAT)
        for n in range(rounds):
            await stream.send(pb.WRITE, offset=n * MIB, data=piece)
        stream.cancel()

    async def load(address: str) -> None:
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.aio.insecure_channel(address, options) for _ in range(connections)]
        stubs = [content_pb2_grpc.ContentStub(channel) for channel in channels]
        clients = [Tenant(stub, ((HEADER, "t"),), deadline=100.0) for stub in stubs]
        await asyncio.gather(*(write(clients[n % connections], f"ref-{n}") for n in range(streams)))
        for channel in channels:
            await channel.close()

    with serving(
        tmp_path / "log", data_dir=tmp_path / "data", buffer_budget=budget, lease_ttl=60
    ) as served:
        asyncio.run(load(served.address))
        status = Path(f"/proc/{served.process.pid}/status").read_text("ascii")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak
        assert served.counted("holdfast_written_bytes_total") == streams * rounds * MIB
        assert int(peak[1]) * 1024 <= 250 * MIB + budget


async def test_what_has_its_room_in_the_buffers_never_waits(intake: Intake) -> None:
    """A stream whose part has its room is read from, whatever others have: they may wait for it."""
    admission = await known(intake)
    for _ in range(4):
        await (await known(intake)).ask(None)
    assert intake.free == 0
    waiting = await asking(await known(intake))
    assert not waiting.done()
    await admission.ask(None, promised=1)
    admission.came(MIB, promised=MIB // 2)
    assert intake.free == -MIB // 2
    admission.handled()
    assert intake.free == 0
    waiting.cancel()


# -- messages whose lengths are told


def told(
    intake: Intake, size: int, sender: Sender | None = None, promised: int = 0
) -> tuple[Admission, asyncio.Task[int]]:
    """A stream that asks for a message of a known size."""
    admission = intake.stream(sender or Sender())
    return admission, asyncio.create_task(admission.ask(None, announced=size, promised=promised))


async def more(admission: Admission, size: int) -> asyncio.Task[int]:
    """The stream asks for the rest of that message, as far as it comes."""
    task = asyncio.create_task(admission.ask(None, announced=size))
    await asyncio.sleep(0)
    return task


async def test_a_message_comes_in_steps(intake: Intake) -> None:
    """A message larger than what is free begins to come, and its rest goes before others."""
    first, granted = told(intake, 3 * MIB)
    assert await granted == 3 * MIB
    second, granted = told(intake, 3 * MIB)
    assert await granted == MIB
    third, waiting = told(intake, MIB)
    rest = await more(second, 3 * MIB)
    assert intake.waiting == 2
    first.came(MIB)
    assert await rest == 3 * MIB
    assert not waiting.done()
    second.came(3 * MIB)
    first.handled()
    assert await waiting == MIB
    second.handled()
    third.handled()
    assert intake.free == intake.size


@pytest.mark.parametrize("size", [5 * MIB, 16 * MIB])
async def test_messages_that_all_wait_for_their_rest(intake: Intake, size: int) -> None:
    """If all room has gone to messages that wait for their rest, one after the other gets it."""
    streams = [told(intake, size) for _ in range(4)]
    begun = [await streams[0][1]]
    assert begun == [4 * MIB]
    rest = await more(streams[0][0], size)
    assert await rest == size
    streams[0][0].came(size)
    streams[0][0].handled()
    for admission, begins in streams[1:]:
        granted = await begins
        while granted < size:
            granted = await (await more(admission, size))
        admission.handled()
    assert intake.free == intake.size
    assert intake.waiting == 0


async def test_a_part_that_has_its_room_has_a_lane(intake: Intake) -> None:
    """Messages of parts that have their room come beyond the limit, within a bound."""
    full, granted = told(intake, 4 * MIB)
    await granted
    ahead, granted = told(intake, LANE - MIB, promised=1)
    assert await granted == LANE - MIB
    small, granted = told(intake, MIB, promised=1)
    assert await granted == MIB
    _, waiting = told(intake, MIB, promised=1)
    await asyncio.sleep(0)
    assert not waiting.done()
    ahead.came(LANE - MIB, promised=LANE)
    assert await waiting == MIB
    assert intake.free == 0
    for one in (full, ahead, small):
        one.handled()
    assert intake.free == intake.size


async def test_a_part_that_has_its_room_goes_first(intake: Intake) -> None:
    """A message of a part that has its room doesn't wait behind one of a part that has none."""
    full, granted = told(intake, 4 * MIB)
    await granted
    _, waiting = told(intake, MIB)
    await asyncio.sleep(0)
    _, promised = told(intake, MIB, promised=1)
    assert await promised == MIB
    assert not waiting.done()
    full.handled()
    await waiting


async def test_a_lane_is_given_up_too(intake: Intake, clock: Clock) -> None:
    """A client that stops within a message beyond the limit is given up as others are."""
    full, granted = told(intake, 4 * MIB)
    await granted
    full.came(4 * MIB)
    sender = Sender()
    _, granted = told(intake, MIB, sender, promised=1)
    await granted
    _, waiting = told(intake, MIB)
    await asyncio.sleep(0)
    clock.at += PATIENCE
    intake.lend()
    assert [type(error) for error in sender.errors] == [Unavailable]
    waiting.cancel()


async def test_a_message_that_has_come(intake: Intake, clock: Clock) -> None:
    """A client isn't given up for a message that is being carried out, however long that takes."""
    sender = Sender()
    slow, granted = told(intake, 4 * MIB, sender)
    await granted
    slow.came(4 * MIB)
    _, waiting = told(intake, MIB)
    await asyncio.sleep(0)
    clock.at += 10 * PATIENCE
    intake.lend()
    assert not sender.errors
    slow.handled()
    await waiting


async def test_a_client_that_is_not_asked_for_more(intake: Intake, clock: Clock) -> None:
    """A client that has sent what it might isn't given up while its stream waits for the rest."""
    first, granted = told(intake, 3 * MIB)
    await granted
    first.came(3 * MIB)
    sender = Sender()
    second, granted = told(intake, 3 * MIB, sender)
    assert await granted == MIB
    sender.arrived = MIB
    rest = await more(second, 3 * MIB)
    clock.at += 10 * PATIENCE
    intake.lend()
    assert not sender.errors
    first.handled()
    await rest


async def test_steps_are_no_smaller_than_a_step(intake: Intake) -> None:
    """A message doesn't come in crumbs: it waits until a step's room is free."""
    first, granted = told(intake, 4 * MIB - STEP + 1)
    await granted
    _, waiting = told(intake, 2 * MIB)
    await asyncio.sleep(0)
    assert not waiting.done()
    first.handled()
    assert await waiting == 2 * MIB


@pytest.mark.parametrize("size", [1, SMALL])
async def test_few_bytes_never_wait(intake: Intake, size: int) -> None:
    """A message of a few bytes doesn't wait for large ones."""
    _, granted = told(intake, 4 * MIB)
    await granted
    _, small = told(intake, size)
    assert await small == size
    _, large = told(intake, SMALL + 1)
    await asyncio.sleep(0)
    assert not large.done()
    large.cancel()


async def test_a_message_that_stands_still(intake: Intake, clock: Clock) -> None:
    """A client that stops within a message keeps its room until it is given up, if others wait."""
    sender = Sender()
    still, granted = told(intake, 4 * MIB, sender)
    await granted
    sender.arrived = 2 * MIB
    clock.at += 20
    _, waiting = told(intake, MIB)
    await asyncio.sleep(0)
    clock.at += PATIENCE - 1
    intake.lend()
    assert not sender.errors
    clock.at += 1
    intake.lend()
    clock.at += PATIENCE
    intake.lend()
    assert [type(error) for error in sender.errors] == [Unavailable]
    assert not waiting.done()  # its bytes are in memory until its stream has ended
    still.handled()
    assert await waiting == MIB


async def test_a_message_that_nobody_waits_for(intake: Intake, clock: Clock) -> None:
    """A client that stops within a message is left alone while there is room for others."""
    sender = Sender()
    _, granted = told(intake, 3 * MIB, sender)
    await granted
    clock.at += 1000
    _, other = told(intake, MIB)
    assert await other == MIB
    intake.lend()
    assert not sender.errors


async def test_a_machine_that_was_suspended(intake: Intake, clock: Clock) -> None:
    """Clients aren't given up for the time in which this process couldn't read what they sent."""
    senders = honest, stopped = Sender(), Sender()
    for sender in senders:
        _, granted = told(intake, 2 * MIB, sender)
        await granted
        sender.arrived = 1000
    _, waiting = told(intake, MIB)
    await asyncio.sleep(0)
    clock.at += 3600
    intake.lend()
    assert not honest.errors
    assert not stopped.errors
    clock.at += MOMENT / 2
    honest.arrived += MIB
    intake.lend()
    clock.at += MOMENT / 2
    intake.lend()
    assert not honest.errors
    assert [type(error) for error in stopped.errors] == [Unavailable]
    waiting.cancel()


async def test_a_slow_client_that_moves(intake: Intake, clock: Clock) -> None:
    """A client that sends slowly is waited for; one that sends next to nothing isn't."""
    slow, trickling = Sender(), Sender()
    for sender in (slow, trickling):
        _, granted = told(intake, 2 * MIB, sender)
        await granted
    _, waiting = told(intake, MIB)
    await asyncio.sleep(0)
    for _ in range(16):
        clock.at += 1
        slow.arrived += SLOWEST
        trickling.arrived += 1
        intake.lend()
    assert not slow.errors
    assert trickling.errors
    waiting.cancel()


async def test_nothing_is_lost_if_lengths_are_told(intake: Intake, clock: Clock) -> None:
    """Whatever order streams ask, send, stop and leave in, all room is free in the end."""
    source = random.Random(2)  # noqa: S311 -- no secret

    async def stream() -> None:
        sender = Sender()
        admission = intake.stream(sender)
        try:
            for _ in range(source.randrange(8)):
                size = source.choice([10, MIB // 2, 3 * MIB, 16 * MIB])
                promised = source.choice([0, 0, size, size // 2])
                granted = 0
                while granted < size:
                    granted = await admission.ask(None, announced=size, promised=promised)
                sender.arrived += source.choice([0, 0, 1, size])
                clock.at += source.choice([0, PATIENCE / 2])
                await asyncio.sleep(0)
                if sender.errors:
                    return
                admission.came(size, promised=promised)
                await asyncio.sleep(0)
                admission.handled()
        finally:
            admission.handled()

    tasks = [asyncio.create_task(stream()) for _ in range(60)]
    for task in tasks[::7]:
        await asyncio.sleep(0)
        task.cancel()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        intake.lend()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (intake.free, intake.waiting) == (intake.size, 0)
