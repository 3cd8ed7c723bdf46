"""The buffer budget: never more than there is, first come first served, always on the move."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.errors import ResourceExhausted
from service.budget import BufferBudget, Holder

SIZE = 100


@dataclass(eq=False)
class FakeStream:
    """A stream that holds bytes and spills them when its turn comes."""

    budget: BufferBudget
    held: int
    last_used: float = 0.0

    @property
    def spillable(self) -> int:
        return self.held

    async def spill(self) -> None:
        held, self.held = self.held, 0
        self.budget.release(held)


def asked(size: int = SIZE) -> tuple[BufferBudget, list[Holder]]:
    """A budget, and those whom it asks to spill."""
    holders: list[Holder] = []
    return BufferBudget(size, holders.append), holders


async def test_more_than_there_is() -> None:
    """A request for more than the whole budget is refused, naming the setting."""
    budget, _ = asked()
    with pytest.raises(ResourceExhausted, match="HOLDFAST_BUFFER_BUDGET"):
        await budget.acquire(SIZE + 1)
    assert budget.free == SIZE


async def test_idlest_is_asked_first() -> None:
    """When bytes are short, the idlest streams are asked to spill, and no more than needed."""
    budget, spilling = asked()
    await budget.acquire(SIZE)
    streams = [FakeStream(budget, 30, last_used) for last_used in (3.0, 1.0, 2.0)]
    for stream in streams:
        budget.join(stream)
    waiting = asyncio.create_task(budget.acquire(50))
    await asyncio.sleep(0)
    assert spilling == [streams[1], streams[2]]
    for stream in spilling:
        await stream.spill()
        budget.spilled(stream)
    await waiting
    assert budget.free == 10


async def test_left_stream_is_not_asked() -> None:
    """A stream that has left is never asked to spill."""
    budget, spilling = asked()
    await budget.acquire(SIZE)
    stream = FakeStream(budget, 30)
    budget.join(stream)
    budget.leave(stream)
    waiting = asyncio.create_task(budget.acquire(1))
    await asyncio.sleep(0)
    assert spilling == []
    budget.release(SIZE)
    await waiting


async def test_asked_again() -> None:
    """A stream whose spill gave nothing back doesn't keep others from being asked."""
    budget, spilling = asked()
    await budget.acquire(SIZE)
    first, second = FakeStream(budget, 30, 1.0), FakeStream(budget, 30, 2.0)
    budget.join(first)
    budget.join(second)
    waiting = asyncio.create_task(budget.acquire(30))
    await asyncio.sleep(0)
    assert spilling == [first]
    first.held = 0
    budget.spilled(first)
    assert spilling == [first, second]
    await second.spill()
    await waiting


async def test_cancelled_when_given() -> None:
    """A request that is cancelled just when it was given its bytes gives them back."""
    budget, _ = asked()
    await budget.acquire(SIZE)
    waiting = asyncio.create_task(budget.acquire(SIZE))
    await asyncio.sleep(0)
    budget.release(SIZE)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (budget.free, budget.waiting) == (SIZE, 0)


async def test_cancelled_head_lets_others_by() -> None:
    """Those behind a large request get their bytes when it is cancelled."""
    budget, _ = asked()
    await budget.acquire(60)
    large = asyncio.create_task(budget.acquire(SIZE))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.acquire(40))
    await asyncio.sleep(0)
    assert budget.waiting == 2
    large.cancel()
    await small
    assert budget.free == 0


@given(st.lists(st.tuples(st.integers(1, SIZE), st.integers(0, SIZE)), min_size=1, max_size=12))
def test_spilling_always_gets_through(wants: list[tuple[int, int]]) -> None:
    """However many streams hold part of the budget, all get what they ask for by spilling."""

    async def run() -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def spill(holder: Holder) -> None:
            await asyncio.sleep(0)
            await holder.spill()
            budget.spilled(holder)

        def spawn(holder: Holder) -> None:
            task = asyncio.create_task(spill(holder))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        budget = BufferBudget(SIZE, spawn)

        async def stream(amount: int, kept: int) -> None:
            holder = FakeStream(budget, 0)
            budget.join(holder)
            for _ in range(3):
                await budget.acquire(amount)
                keep = min(kept, amount)
                holder.held += keep
                budget.release(amount - keep)

        async with asyncio.timeout(10):
            await asyncio.gather(*(stream(*want) for want in wants))
        while tasks:
            await asyncio.wait(tasks)
        assert budget.free + sum(holder.spillable for holder in budget._holders) == SIZE

    asyncio.run(run())


class BudgetModel(RuleBasedStateMachine):
    """Requests, gifts and cancellations in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.budget = BufferBudget(SIZE, lambda _: None)
        self.waiting: list[tuple[int, asyncio.Task[None]]] = []
        self.given: list[int] = []

    def settle(self) -> None:
        """Lets the tasks run, and takes note of who was served."""

        async def turn() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        self.runner.run(turn())
        served = [task.done() for _, task in self.waiting]
        assert served == sorted(served, reverse=True), "a later request was served first"
        self.given += [amount for amount, task in self.waiting if task.done()]
        self.waiting = [(amount, task) for amount, task in self.waiting if not task.done()]

    @rule(amount=st.integers(0, SIZE))
    def ask(self, amount: int) -> None:
        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(self.budget.acquire(amount))

        self.waiting.append((amount, self.runner.run(start())))
        self.settle()

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        amount = self.given.pop(data.draw(st.integers(0, len(self.given) - 1)))

        async def release() -> None:
            self.budget.release(amount)

        self.runner.run(release())
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), released=st.booleans())
    def cancel(self, data: st.DataObject, released: bool) -> None:
        index = data.draw(st.integers(0, len(self.waiting) - 1))
        amount = self.given.pop() if released and self.given else 0

        async def cancel() -> None:
            self.budget.release(amount)
            self.waiting[index][1].cancel()
            await asyncio.wait([self.waiting[index][1]])

        self.runner.run(cancel())
        del self.waiting[index]
        self.settle()

    @invariant()
    def adds_up(self) -> None:
        """What is free and what was given out is all there is."""
        assert 0 <= self.budget.free == SIZE - sum(self.given)
        assert self.budget.waiting == len(self.waiting)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """The first in the queue waits only for what isn't there."""
        assert not self.waiting or self.waiting[0][0] > self.budget.free

    def teardown(self) -> None:
        async def cancel() -> None:
            for _, task in self.waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in self.waiting), return_exceptions=True)

        self.runner.run(cancel())
        self.runner.close()


TestBudgetModel = BudgetModel.TestCase
