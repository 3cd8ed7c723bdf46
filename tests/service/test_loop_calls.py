"""Calls to the store on the loop: how many at once, for how long, and how they end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from holdfast import deadlines, switching
from holdfast.errors import Busy, ResourceExhausted
from holdfast.service.process.workers import Workers
from holdfast.storage.reserve import Reserve
from tests.stores.memory import MemoryStore


def on_loop(threads: int = 2, call_deadline: float | None = None) -> Workers:
    """Workers for a store that switches."""
    return Workers(threads, 1, call_deadline, switches=True)


async def test_quick_calls_run_where_the_store_can() -> None:
    """A quick call runs on the loop if the store can switch, and in a thread if it can't."""
    here = threading.get_ident()
    looped, threaded = on_loop(), Workers(2, 1)
    assert await looped.quick(threading.get_ident) == here
    assert await looped.store(threading.get_ident) != here
    assert await threaded.quick(threading.get_ident) != here
    with pytest.raises(ValueError, match="invalid literal"):
        await looped.quick(int, "x")
    for workers in (looped, threaded):
        assert await workers.close(10.0)


async def test_calls_take_turns() -> None:
    """No more calls than threads are under way at once; the others wait, and are counted."""
    workers, gates, begun = on_loop(2), [asyncio.Future[None]() for _ in range(4)], list[int]()

    def call(number: int) -> int:
        begun.append(number)
        switching.wait(gates[number])
        return number

    calls = [asyncio.create_task(workers.quick(call, number)) for number in range(4)]
    await asyncio.sleep(0)
    assert (begun, workers.queued) == ([0, 1], 2)
    calls[2].cancel()
    await asyncio.wait([calls[2]])
    assert workers.queued == 1
    gates[0].set_result(None)
    assert await calls[0] == 0
    gates[3].set_result(None)
    assert await calls[3] == 3
    assert (begun, workers.queued) == ([0, 1, 3], 0)
    gates[1].set_result(None)
    assert await calls[1] == 1
    assert await workers.close(10.0)


async def test_a_turn_that_does_not_come() -> None:
    """A call whose turn hasn't come when its deadline passes is never begun."""
    workers, gate, begun = on_loop(1, 0.01), asyncio.Future[None](), list[int]()
    busy = asyncio.create_task(workers.quick(switching.wait, gate))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match=r"no turn .* within 0.01 s"):
        await workers.quick(begun.append, 1)
    gate.set_result(None)
    await busy
    assert (begun, workers.queued) == ([], 0)
    assert await workers.close(10.0)


async def test_a_call_that_was_given_up_keeps_its_turn() -> None:
    """A call whose caller has left counts until it ends, and the end waits for it."""
    workers, gate = on_loop(1), asyncio.Future[None]()
    left = asyncio.create_task(workers.quick(switching.wait, gate))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait([left])
    second = asyncio.create_task(workers.quick(int, "7"))
    await asyncio.sleep(0)
    assert workers.queued == 1
    closing = asyncio.create_task(workers.close(30.0))
    await asyncio.sleep(0)
    gate.set_result(None)
    assert await second == 7
    assert await closing


async def test_an_end_that_does_not_wait_for_ever() -> None:
    """A call that is stuck delays the end for the grace only."""
    workers, gate = on_loop(1), asyncio.Future[None]()
    stuck = asyncio.create_task(workers.quick(switching.wait, gate))
    await asyncio.sleep(0)
    assert not await workers.close(0.01)
    gate.set_result(None)
    await stuck


async def test_a_quick_call_knows_its_deadline() -> None:
    """A quick call has the earlier of two deadlines, and none that isn't its own is changed."""
    workers = on_loop(1, 600.0)

    def seconds() -> float | None:
        deadline = deadlines.current()
        return deadline.seconds if deadline else None

    assert await workers.quick(seconds) == 600.0
    with deadlines.within(300.0):
        assert await workers.quick(seconds) == 300.0
    assert deadlines.current() is None
    assert await workers.close(10.0)


async def test_room_is_made_beside_the_loop() -> None:
    """If the store is full, a write waits for the reserve in a thread, and never on the loop."""
    workers, held, here = on_loop(4), threading.Event(), threading.get_ident()
    reserve = Reserve(MemoryStore(0.0), 1, bytes)
    written: list[bool] = []

    def write() -> None:
        written.append(threading.get_ident() == here)
        if written[-1]:
            raise ResourceExhausted("full")
        held.wait()

    writes = [asyncio.create_task(workers.quick(reserve.making_room, write)) for _ in range(2)]
    await asyncio.sleep(0)
    assert await workers.store(int, "7") == 7
    held.set()
    await asyncio.gather(*writes)
    assert written.count(True) == written.count(False) == 2
    assert await workers.close(10.0)
