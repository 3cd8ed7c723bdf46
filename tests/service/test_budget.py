"""The buffer budget: never more than there is, whole parts first, always on the move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.errors import ResourceExhausted
from holdfast.service.ingest.budget import PATIENCE, SILENCE, SLOWEST, BufferBudget, Share
from tests.coordination.fleet import Clock

SIZE = 100
PART = 50


@dataclass(eq=False)
class FakeStream:
    """A stream whose buffer is the number of its bytes; `read_back` counts those of tails."""

    budget: BufferBudget
    spills: int = 0
    buffered: int = 0
    spilled: int = 0
    read_back: int = 0
    share: Share = field(init=False)

    def __post_init__(self) -> None:
        self.share = self.budget.join(self)

    async def spill(self) -> None:
        self.spills += 1
        gone, self.buffered = self.buffered, 0
        self.spilled += gone
        self.share.give_back(gone)
        self.share.renounce()

    async def take(self, amount: int) -> None:
        """Bytes come, of a part of unknown size."""
        await self.share.take(amount)
        self.buffered += amount

    async def send(self, amount: int, part: int = PART) -> bool:
        """Bytes of a part come; whether it is full, and stored at once."""
        self.share.work()
        while True:
            back = self.spilled
            size = self.buffered + back
            await self.share.take(amount + back, part - size - amount)
            if self.spilled == back:
                break
            # A spill that was under way has ended meanwhile: more must be read back.
            self.share.give_back(amount + back)
        self.spilled, self.read_back = 0, self.read_back + back
        self.buffered += back + amount
        full = self.buffered == part
        if full:
            self.buffered = 0
            self.share.cut().release()
        self.share.rest()
        return full


@dataclass
class Ground:
    """A budget, its clock, and the spills that it has begun."""

    clock: Clock = field(default_factory=Clock)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    budget: BufferBudget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = BufferBudget(SIZE, self.spawn, self.clock)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def stream(self, held: int) -> FakeStream:
        """A stream that holds bytes, and whose client's turn it is."""
        stream = FakeStream(self.budget)
        await stream.take(held)
        stream.share.rest()
        return stream

    async def wait(self, seconds: float) -> None:
        """Time passes, and whoever can goes on."""
        self.clock.now += seconds
        self.budget.relieve()
        await turn()


async def turn() -> None:
    """Lets tasks run until they wait."""
    for _ in range(6):
        await asyncio.sleep(0)


async def begun(work: Awaitable[Any]) -> asyncio.Future[Any]:
    """Work that has come as far as it can."""
    task = asyncio.ensure_future(work)
    await turn()
    return task


@pytest.fixture
def ground() -> Ground:
    """A budget of 100 bytes that are all free."""
    return Ground()


async def test_more_than_there_is(ground: Ground) -> None:
    """A request for more than the whole budget is refused, naming the setting."""
    with pytest.raises(ResourceExhausted, match="HOLDFAST_BUFFER_BUDGET"):
        await FakeStream(ground.budget).share.take(SIZE + 1)
    assert (ground.budget.free, ground.budget.waiting) == (SIZE, 0)


async def test_plenty(ground: Ground) -> None:
    """While half of the budget stays free, bytes are taken as they come, without a promise."""
    stream = FakeStream(ground.budget)
    await stream.share.take(30, 20)
    assert stream.share.take_at_once(20)
    assert (stream.share.buffered, stream.share.promised, ground.budget.free) == (50, 0, 50)
    assert not FakeStream(ground.budget).share.take_at_once(1)


async def test_a_promise(ground: Ground) -> None:
    """Where the budget is scarce a stream is promised the rest of its part, and takes it so."""
    await ground.stream(SIZE // 2)
    stream = FakeStream(ground.budget)
    await stream.share.take(10, 20)
    assert (stream.share.buffered, stream.share.promised, ground.budget.free) == (10, 20, 20)
    late = await begun(FakeStream(ground.budget).share.take(10, 20))
    assert not late.done()
    assert stream.share.take_at_once(15)
    assert not stream.share.take_at_once(6)
    assert (stream.share.buffered, stream.share.promised, ground.budget.free) == (25, 5, 20)
    stream.share.cut().release()
    await late


async def test_a_full_part(ground: Ground) -> None:
    """A full part's bytes are its own: they come back when it is stored, not with its stream."""
    stream = FakeStream(ground.budget)
    await stream.share.take(30)
    room = stream.share.cut()
    stream.share.close()
    assert ground.budget.free == SIZE - 30
    room.release()
    room.release()
    assert ground.budget.free == SIZE


async def test_begun_parts_first(ground: Ground) -> None:
    """Who is in the middle of a part is served before who begins one, as far as it fits."""
    first, second = await ground.stream(20), await ground.stream(30)
    other = FakeStream(ground.budget)
    await other.share.take(5, 25)
    beginner = await begun(FakeStream(ground.budget).share.take(1, 20))
    large = await begun(first.share.take(1, 29))
    small = await begun(second.share.take(1, 19))
    assert [one.done() for one in (beginner, large, small)] == [False, False, True]
    other.share.cut().release()
    await turn()
    assert [one.done() for one in (beginner, large)] == [False, True]
    second.share.cut().release()
    await beginner


async def test_silent_streams_spill(ground: Ground) -> None:
    """Only those whose clients are silent spill, the idlest first, and no more than is lacking."""
    streams = []
    for _ in range(3):
        streams.append(await ground.stream(30))
        ground.clock.now += 0.1
    waiting = await begun(FakeStream(ground.budget).share.take(40))
    assert not ground.tasks
    await ground.wait(SILENCE - 0.31)
    assert not ground.tasks
    await ground.wait(0.11)
    assert [stream.spills for stream in streams] == [1, 0, 0]
    await waiting
    assert ground.budget.free == 0


async def test_the_oldest_of_equals_spills(ground: Ground) -> None:
    """Of streams whose clients have rested equally long, the one that is open longest spills."""
    streams = [await ground.stream(5) for _ in range(SIZE // 5)]
    begun_part = await begun(streams[-1].share.take(1))
    await ground.wait(SILENCE)
    await begun_part
    assert [stream.spills for stream in streams].index(1) == 0


async def test_who_works_does_not_spill(ground: Ground) -> None:
    """A stream that waits for the store isn't silent, however long that takes."""
    stream = await ground.stream(SIZE)
    stream.share.work()
    waiting = await begun(FakeStream(ground.budget).share.take(1))
    await ground.wait(1000)
    assert stream.spills == 0
    stream.share.rest()
    await ground.wait(SILENCE)
    await waiting
    assert stream.spills == 1


async def test_silence_is_borne_longer_each_time(ground: Ground) -> None:
    """A part that was spilled is spilled again after twice the silence only."""
    stream = await ground.stream(SIZE // 2)
    for silence in (SILENCE, 2 * SILENCE, 4 * SILENCE):
        other = FakeStream(ground.budget)
        waiting = await begun(other.share.take(SIZE // 2 + 1))
        await ground.wait(silence - 0.01)
        assert not waiting.done()
        await ground.wait(0.02)
        await waiting
        other.share.close()
        await stream.take(SIZE // 2)
        stream.share.rest()
    stream.share.cut().release()
    assert stream.share.silence == SILENCE


async def test_dripping(ground: Ground) -> None:
    """A client that sends a byte now and then, and is never silent, doesn't keep others waiting."""
    stream = await ground.stream(SIZE // 2)
    waiting = await begun(FakeStream(ground.budget).share.take(SIZE // 2 + 1))
    passed = 0.0
    while not waiting.done():
        await ground.wait(SILENCE / 2)
        passed += SILENCE / 2
        stream.share.work()
        stream.share.rest()
        await ground.wait(0)
    assert PATIENCE <= passed <= PATIENCE + SILENCE + SIZE / SLOWEST


async def test_a_spill_that_is_cancelled(ground: Ground) -> None:
    """A spill that is cancelled before it begins keeps nobody from being asked, nor itself."""
    stream = await ground.stream(SIZE)
    waiting = await begun(FakeStream(ground.budget).share.take(1))
    ground.clock.now += SILENCE
    ground.budget.relieve()
    ground.tasks[0].cancel()
    await turn()
    assert (stream.spills, waiting.done()) == (0, False)
    await ground.wait(SILENCE)
    await waiting
    assert stream.spills == 1


async def test_cancelled_when_given(ground: Ground) -> None:
    """A request that is cancelled just when it was given its bytes gives them back."""
    first, second = await ground.stream(SIZE), FakeStream(ground.budget)
    waiting = await begun(second.share.take(SIZE))
    first.share.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (ground.budget.free, ground.budget.waiting) == (SIZE, 0)


async def test_cancelled_head_lets_others_by(ground: Ground) -> None:
    """Those behind a large request get their bytes when it is cancelled."""
    await ground.stream(60)
    large = await begun(FakeStream(ground.budget).share.take(SIZE))
    small = await begun(FakeStream(ground.budget).share.take(40))
    assert ground.budget.waiting == 2
    large.cancel()
    await small
    assert ground.budget.free == 0


async def test_closed_while_it_waits(ground: Ground) -> None:
    """A stream that ends while it waits takes nothing, then and later, and has nothing to give."""
    await ground.stream(SIZE)
    stream = FakeStream(ground.budget)
    waiting = await begun(stream.share.take(50))
    stream.share.close()
    await waiting
    await stream.share.take(50)
    stream.share.give_back(50)
    stream.share.cut().release()
    assert (ground.budget.free, ground.budget.waiting, ground.budget.shares) == (0, 0, 1)


@pytest.mark.parametrize(("streams", "part"), [(3, 43), (8, 43), (2, 43), (64, 4)])
async def test_streams_in_turns(ground: Ground, streams: int, part: int) -> None:
    """However many streams send their parts in turns, a byte at a time, none is ever spilled."""
    writers = [FakeStream(ground.budget) for _ in range(streams)]

    async def write(stream: FakeStream) -> None:
        parts = 0
        while parts < 3:
            parts += await stream.send(1, part)
            await asyncio.sleep(0)
        stream.share.close()

    await asyncio.gather(*map(write, writers))
    assert sum(stream.spills for stream in writers) == 0
    assert ground.budget.free == SIZE


@given(
    st.lists(
        st.tuples(st.integers(1, PART), st.lists(st.integers(1, 30), min_size=1, max_size=8)),
        min_size=1,
        max_size=12,
    )
)
def test_everybody_gets_through(plans: list[tuple[int, list[int]]]) -> None:
    """Whatever sizes parts have and clients send, all get through, and all bytes come back."""

    async def run() -> None:
        ground = Ground()

        async def write(part: int, messages: list[int]) -> None:
            stream, size = FakeStream(ground.budget), 0
            for message in messages:
                left = message
                while left:
                    piece = min(left, part - size)
                    full = await stream.send(piece, part)
                    assert full == (size + piece == part)
                    size = 0 if full else size + piece
                    left -= piece
                    assert ground.budget.free >= 0
                await asyncio.sleep(0)

        async def time_passes() -> None:
            while True:
                await ground.wait(SILENCE)

        passing = asyncio.create_task(time_passes())
        async with asyncio.timeout(30):
            await asyncio.gather(*(write(*plan) for plan in plans))
        passing.cancel()
        await asyncio.wait(ground.tasks or [passing])
        for share in list(ground.budget._shares):
            share.close()
        assert ground.budget.free == SIZE

    asyncio.run(run())


class BudgetModel(RuleBasedStateMachine):
    """Streams that send, rest, fall silent, end and are cancelled, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ground = Ground()
        self.streams: list[FakeStream] = []
        self.tasks: dict[FakeStream, asyncio.Future[Any]] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs some work, and whatever it sets off."""

        async def all_of_it() -> None:
            await work
            await turn()

        self.runner.run(all_of_it())
        self.tasks = {stream: task for stream, task in self.tasks.items() if not task.done()}

    @precondition(lambda self: len(self.streams) < 5)
    @rule()
    def open(self) -> None:
        async def join() -> None:
            self.streams.append(FakeStream(self.ground.budget))

        self.run(join())

    def idle(self) -> list[FakeStream]:
        """Streams that don't wait."""
        return [stream for stream in self.streams if stream not in self.tasks]

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), amount=st.integers(1, PART))
    def send(self, data: st.DataObject, amount: int) -> None:
        stream = data.draw(st.sampled_from(self.idle()))
        amount = min(amount, PART - stream.share.buffered - stream.spilled)

        async def begin() -> None:
            self.tasks[stream] = asyncio.ensure_future(stream.send(amount))

        self.run(begin())

    @rule(seconds=st.sampled_from([0.1, SILENCE, 100.0]))
    def wait(self, seconds: float) -> None:
        self.run(self.ground.wait(seconds))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), ends=st.booleans())
    def cancel(self, data: st.DataObject, ends: bool) -> None:
        stream = data.draw(st.sampled_from(list(self.tasks)))

        async def cancel() -> None:
            if ends:
                self.streams.remove(stream)
                stream.share.close()
            self.tasks[stream].cancel()
            stream.share.rest()

        self.run(cancel())

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.idle()))
        self.streams.remove(stream)

        async def end() -> None:
            stream.share.close()

        self.run(end())

    @invariant()
    def adds_up(self) -> None:
        """What is free, held and promised is all there is."""
        shares = [stream.share for stream in self.streams]
        assert all(share.buffered >= 0 and share.promised >= 0 for share in shares)
        given = sum(share.spillable for share in shares)
        assert 0 <= self.ground.budget.free == SIZE - given
        assert self.ground.budget.waiting == len(self.tasks)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """If all streams wait, or have nothing, one of those who wait can go on: nobody does."""
        others = [stream for stream in self.idle() if stream.share.spillable]
        assert not self.tasks or others

    def teardown(self) -> None:
        async def cancel() -> None:
            for stream in self.streams:
                stream.share.close()

        self.run(cancel())
        assert self.ground.budget.free == SIZE
        self.runner.close()


TestBudgetModel = BudgetModel.TestCase
