"""Blocking code on the loop: it switches where it would block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import TypeVar

import pytest

from holdfast import deadlines, switching, tasks

Result = TypeVar("Result")
NAME: ContextVar[str] = ContextVar("name", default="")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def begin(call: Callable[[], Result], threads: ThreadPoolExecutor) -> asyncio.Future[Result]:
    """An operation in a copy of the caller's context."""
    return switching.begin(call, threads, copy_context())


async def test_the_loop_goes_on_while_an_operation_waits(threads: ThreadPoolExecutor) -> None:
    """Two operations on one thread wait for each other, and both end."""
    first, second = asyncio.Future[int](), asyncio.Future[int]()

    def one() -> int:
        second.set_result(1)
        return switching.wait(first)

    def other() -> int:
        found = switching.wait(second)
        first.set_result(found + 1)
        return found

    begun = [begin(other, threads), begin(one, threads)]
    assert await asyncio.gather(*begun) == [1, 2]


async def test_what_needs_no_wait_is_done_at_once(threads: ThreadPoolExecutor) -> None:
    """An operation without a wait has ended before its beginning returns."""
    outcome = begin(lambda: 7, threads)
    assert outcome.done()
    assert outcome.result() == 7


async def test_failures_reach_the_code_that_waits(threads: ThreadPoolExecutor) -> None:
    """A failure of what is waited for is raised in the operation, and its own in its caller."""
    failed = asyncio.Future[int]()

    def operation() -> None:
        try:
            switching.wait(failed)
        except KeyError as error:
            raise LookupError from error

    outcome = begin(operation, threads)
    failed.set_exception(KeyError())
    with pytest.raises(LookupError):
        await outcome


async def test_an_operation_goes_on_without_its_caller(threads: ThreadPoolExecutor) -> None:
    """If nobody waits for it any more, an operation ends by itself, as in a thread."""
    waited, done = asyncio.Future[None](), asyncio.Event()

    def operation() -> None:
        switching.wait(waited)
        done.set()

    caller = asyncio.ensure_future(begin(operation, threads))
    caller.cancel()
    await asyncio.wait([caller])
    waited.set_result(None)
    await done.wait()


async def test_what_blocks_runs_in_a_thread(threads: ThreadPoolExecutor) -> None:
    """What blocks leaves the loop, and the thread isn't the operation: nothing switches there."""
    loop = threading.get_ident()
    go = threading.Event()

    def blocks() -> tuple[int, bool]:
        go.wait()
        return threading.get_ident(), switching.current()

    def operation() -> tuple[bool, tuple[int, bool]]:
        return switching.current(), switching.apart(blocks)

    outcome = begin(operation, threads)
    assert not outcome.done()
    go.set()
    on_loop, (thread, switches) = await outcome
    assert on_loop
    assert thread != loop
    assert not switches


def test_in_a_thread_nothing_changes() -> None:
    """Away from a loop, what blocks is called as it is, and nothing can switch."""
    assert switching.apart(threading.get_ident) == threading.get_ident()
    assert not switching.current()
    with pytest.raises(RuntimeError, match="only an operation"):
        switching.wait(None)  # type: ignore[arg-type]


async def test_each_operation_has_its_own_context(threads: ThreadPoolExecutor) -> None:
    """Deadlines and log contexts of operations that take turns don't mix, nor in their threads."""
    gates = [asyncio.Future[None]() for _ in range(2)]

    def operation(name: str, gate: asyncio.Future[None]) -> tuple[str, str, float | None]:
        NAME.set(name)
        with deadlines.within(float(len(name))) as deadline:
            switching.wait(gate)
            assert deadlines.current() is deadline
            return NAME.get(), switching.apart(NAME.get), deadline.seconds if deadline else None

    begun = [
        begin(lambda name=name, gate=gate: operation(name, gate), threads)  # type: ignore[misc]
        for name, gate in zip(("a", "bb"), gates, strict=True)
    ]
    for gate in reversed(gates):
        gate.set_result(None)
    assert await asyncio.gather(*begun) == [("a", "a", 1.0), ("bb", "bb", 2.0)]
    assert (NAME.get(), deadlines.current()) == ("", None)


async def test_a_task_that_an_operation_began_is_not_the_operation(
    threads: ThreadPoolExecutor,
) -> None:
    """A coroutine that an operation waits for runs as a task, which doesn't switch."""

    async def coroutine() -> bool:
        await asyncio.sleep(0)
        return switching.current()

    assert not await begin(lambda: switching.wait(tasks.begin(coroutine())), threads)
