"""Thread pools and background work, and how they end."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from holdfast import deadlines
from holdfast.errors import PUSHBACK, Busy
from holdfast.service.process.background import Background, end
from holdfast.service.process.permits import Permit
from holdfast.service.process.workers import HASHING_YIELDS, Workers
from holdfast.service.rpc.status_codes import trailers_of


async def test_calls_run_in_threads() -> None:
    """Calls run beside the loop, with their arguments, and raise into it."""
    workers = Workers(1, 1)
    assert await workers.store(threading.get_ident) != threading.get_ident()
    assert await workers.hash(int, "7", base=8) == 7
    try:
        await workers.store(int, "x")
    except ValueError:
        pass
    else:
        raise AssertionError
    assert await workers.close(10.0)


async def test_bulk_leaves_threads_for_others() -> None:
    """However many parts and blocks are under way, small requests find a thread."""
    workers, go = Workers(4, 1), threading.Event()
    bulk = [asyncio.create_task(workers.bulk(go.wait)) for _ in range(20)]
    await asyncio.sleep(0)
    assert await workers.store(int, "7") == 7
    assert workers.queued == 0
    go.set()
    await asyncio.gather(*bulk)
    assert await workers.close(30.0)


async def test_a_call_that_waits_for_a_thread_too_long() -> None:
    """Waiting for a thread counts: a call whose deadline is over then is never begun."""
    workers, go, begun = Workers(1, 1, call_deadline=0.01), threading.Event(), threading.Event()
    busy = asyncio.create_task(workers.patient(go.wait))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match=r"no thread .* became free within 0.01 s") as refused:
        await workers.store(begun.set)
    assert (PUSHBACK, "1000") in trailers_of(refused.value)
    assert workers.queued == 0
    go.set()
    await busy
    assert not begun.is_set()
    assert await workers.close(30.0)


async def test_a_thread_knows_the_deadline() -> None:
    """A small call is done by the earlier of two deadlines; what moves bytes has none."""
    workers = Workers(1, 1, call_deadline=600.0)

    def seconds() -> float | None:
        deadline = deadlines.current()
        return deadline.seconds if deadline else None

    assert await workers.store(seconds) == 600.0
    with deadlines.within(300.0):
        assert await workers.store(seconds) == 300.0
        assert await workers.patient(seconds) is None
        assert await workers.bulk(seconds) is None
    with deadlines.within(900.0):
        assert await workers.store(seconds) == 600.0
    assert await Workers(1, 1).store(seconds) is None
    assert await workers.close(30.0)


async def test_background_work_has_its_own_time() -> None:
    """What a call leaves behind isn't bounded by that call's deadline."""
    background, seen = Background(), []

    async def look() -> None:
        seen.append(deadlines.left())

    with deadlines.within(0.0):
        background.start(look())
    await background.drain(30.0)
    assert seen == [None]


async def test_a_thread_is_busy_until_its_call_ends() -> None:
    """A call that nobody waits for any more takes its thread, and its room, until it is over."""
    workers, go, begun = Workers(2, 1), threading.Event(), threading.Event()
    given_back: list[bool] = []
    room = Permit(lambda: given_back.append(True))

    def busy() -> None:
        begun.set()
        go.wait()

    call = asyncio.create_task(workers.send([room], busy))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    await asyncio.wait([call])
    room.release()
    late = asyncio.create_task(workers.bulk(int, "7"))
    await asyncio.to_thread(lambda: None)
    assert not late.done()
    assert not given_back
    assert await workers.store(int, "7") == 7
    go.set()
    assert await late == 7
    assert given_back == [True]
    assert workers.queued == 0
    assert await workers.close(30.0)


async def test_a_call_that_never_begins_takes_nothing() -> None:
    """What waits for a thread, or for its turn, and is cancelled gives its room back at once."""
    workers, go, given_back = Workers(1, 1), threading.Event(), []

    def room(number: int) -> Permit:
        return Permit(lambda: given_back.append(number))

    busy = asyncio.create_task(workers.store(go.wait))
    await asyncio.sleep(0)
    calls = [asyncio.create_task(workers.send([room(number)], go.wait)) for number in range(2)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert given_back == [0, 1]
    go.set()
    await busy
    assert await workers.bulk(int, "7") == 7
    assert await workers.close(30.0)


async def test_a_permit() -> None:
    """A permit is given back once, by whoever has it last."""
    given_back: list[bool] = []
    permit = Permit(lambda: given_back.append(True))
    moved = permit.move()
    permit.release()
    assert not given_back
    moved.release()
    moved.release()
    assert given_back == [True]


async def test_hashing_lets_others_go_first() -> None:
    """Threads that hash are nicer than the loop and those that ask the store, which stay as are."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    workers, before = Workers(1, 1), niceness()
    assert await workers.hash(niceness) == min(19, before + HASHING_YIELDS)
    assert await workers.store(niceness) == niceness() == before
    assert await workers.close(10.0)


async def test_calls_that_wait_for_a_thread_are_counted() -> None:
    """Only calls beyond the threads are queued, and none is when all have ended or gone."""
    workers, go = Workers(2, 1), threading.Event()
    calls = [asyncio.create_task(workers.store(go.wait)) for _ in range(5)]
    await asyncio.sleep(0)
    assert workers.queued == 3
    calls[-1].cancel()
    await asyncio.wait(calls[-1:])
    assert workers.queued == 2
    go.set()
    await asyncio.gather(*calls[:-1])
    assert workers.queued == 0
    assert await workers.close(30.0)


async def test_close_does_not_block_the_loop() -> None:
    """A thread that is stuck delays the end for the grace only, and never the loop."""
    workers, stuck = Workers(1, 1), threading.Event()
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        stuck.wait()

    call = asyncio.create_task(workers.store(wait))
    queued = asyncio.create_task(workers.store(wait))
    await asyncio.to_thread(begun.wait)
    assert not await workers.close(0.01)
    stuck.set()
    await call
    assert (await asyncio.gather(queued, return_exceptions=True))[0] is not None


async def test_close_waits_for_calls_under_way() -> None:
    """Calls that are under way are waited for."""
    workers, go, begun = Workers(1, 1), threading.Event(), threading.Event()
    done: list[bool] = []

    def work() -> None:
        begun.set()
        go.wait()
        done.append(True)

    call = asyncio.create_task(workers.store(work))
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(workers.close(30.0))
    await asyncio.sleep(0)
    go.set()
    assert await closing
    await call
    assert done


async def test_drain_waits_for_what_work_starts() -> None:
    """A drain waits for work that is begun by other work."""
    background, done = Background(), []

    async def last() -> None:
        await asyncio.sleep(0)
        done.append(True)

    async def first() -> None:
        await asyncio.sleep(0)
        background.start(last())

    background.start(first())
    assert len(background) == 1
    assert await background.drain(30.0) == 0
    assert done
    assert len(background) == 0


async def test_drain_cancels_what_is_late() -> None:
    """Work that outlasts the grace is cancelled, and counted."""
    background = Background()
    background.start(asyncio.Event().wait())
    assert await background.drain(0.0) == 1
    assert await background.drain(0.0) == 0


async def test_failure_of_background_work_is_no_news_to_others() -> None:
    """Work that fails ends by itself."""
    background = Background()

    async def fail() -> None:
        raise RuntimeError("no")

    background.start(fail())
    assert await background.drain(30.0) == 0


async def test_end_insists() -> None:
    """A task that loses a cancellation, as wait_for of Python 3.11 does, ends all the same."""
    lost: list[bool] = []

    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(0)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(True)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    assert await end([task])
    assert lost
    assert task.cancelled()


async def test_end_gives_up() -> None:
    """A task that can't be ended is left behind."""
    go = asyncio.Event()

    async def stubborn() -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    assert not await end([task], attempts=1)
    go.set()
    await task
    assert await end([task])
