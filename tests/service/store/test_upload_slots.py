"""How many parts are uploaded at once: as many as the store bears."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.service.process.permits import Permit
from holdfast.service.store.upload_slots import UploadSlots


class Store:
    """A store that asks for less when it is told to; and the parts on their way to it."""

    def __init__(self, most: int) -> None:
        self.asked = 0
        self.slots = UploadSlots(most, lambda: self.asked)
        self.parts: list[Permit] = []

    async def begin(self, count: int = 1) -> None:
        """Begins parts."""
        for _ in range(count):
            async with asyncio.timeout(1):
                self.parts.append(await self.slots.acquire())

    async def end(self, count: int = 1, *, throttled: bool = False) -> None:
        """Parts are through; before each the store may have asked for less."""
        for _ in range(count):
            self.asked += throttled
            self.parts.pop(0).release()


async def test_at_most_so_many() -> None:
    """No more than are configured are under way, and those that wait get their turn in order."""
    store = Store(2)
    await store.begin(2)
    waiting = [asyncio.create_task(store.slots.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    assert [turn.done() for turn in waiting] == [False, False]
    await store.end()
    await waiting[0]
    assert not waiting[1].done()
    waiting[1].cancel()


async def test_the_store_asks_for_less() -> None:
    """What the store asks of parts that are under way together halves their number once."""
    store = Store(16)
    await store.begin(16)
    await store.end(16, throttled=True)
    assert store.slots.allowed == 8
    await store.begin(8)
    await store.end(8, throttled=True)
    assert store.slots.allowed == 4


async def test_it_never_comes_to_rest() -> None:
    """However often the store asks for less, one part at a time goes on."""
    store = Store(4)
    for _ in range(10):
        await store.begin()
        await store.end(throttled=True)
    assert store.slots.allowed == 1
    await store.begin()


async def test_it_recovers() -> None:
    """Parts that go through well make room for one more after as many as are allowed."""
    store = Store(8)
    await store.begin(8)
    await store.end(8, throttled=True)
    allowed = [store.slots.allowed]
    while store.slots.allowed < 8:
        await store.begin(store.slots.allowed)
        await store.end(len(store.parts))
        allowed.append(store.slots.allowed)
    assert allowed[:3] == [4, 4, 5]
    assert allowed == sorted(allowed)
    assert len(allowed) < 12


async def test_fewer_are_let_in_after_a_cut() -> None:
    """Those who wait stay outside until so many are through as are too many."""
    store = Store(4)
    await store.begin(4)
    waiting = asyncio.create_task(store.slots.acquire())
    await asyncio.sleep(0)
    await store.end(2, throttled=True)
    assert not waiting.done()
    await store.end()
    await waiting


async def test_a_turn_that_nobody_takes() -> None:
    """One that is cancelled in the moment of its turn hands it on."""
    store = Store(1)
    await store.begin()
    first, second = (asyncio.create_task(store.slots.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    await store.end()
    first.cancel()
    async with asyncio.timeout(1):
        await second
    with pytest.raises(asyncio.CancelledError):
        await first


@given(steps=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), most=st.integers(1, 5))
def test_any_order(steps: list[tuple[bool, bool]], most: int) -> None:
    """Whatever happens, between one and as many as configured are allowed, and none is lost."""

    async def work() -> None:
        store = Store(most)
        for begins, throttled in steps:
            if begins and len(store.parts) < store.slots.allowed:
                await store.begin()
            elif store.parts:
                await store.end(throttled=throttled)
            assert 1 <= store.slots.allowed <= most
        await store.end(len(store.parts))
        await store.begin(store.slots.allowed)

    asyncio.run(work())
