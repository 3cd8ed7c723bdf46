"""Deadlines: which one counts, and to whom it is handed on."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

from holdfast import deadlines


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_none_by_itself() -> None:
    """What nobody bounds may take as long as it takes."""
    assert deadlines.left() is None
    with deadlines.within(None):
        assert deadlines.current() is None


def test_what_is_left_gets_less() -> None:
    """What is left is counted from the beginning, and over afterwards."""
    clock = Clock()
    with deadlines.within(10.0, clock) as deadline:
        clock.now += 4
        assert deadlines.left() == 6.0
        clock.now += 7
        assert deadlines.left() == -1.0
        assert deadline
        assert deadline.seconds == 10.0
    assert deadlines.left() is None


def test_the_earliest_counts() -> None:
    """A deadline within another one shortens it, and never makes it longer."""
    clock = Clock()
    with deadlines.within(10.0, clock):
        with deadlines.within(3.0, clock):
            assert deadlines.left() == 3.0
        with deadlines.within(30.0, clock):
            assert deadlines.left() == 10.0
        with deadlines.within(None):
            assert deadlines.left() == 10.0
        with deadlines.unbounded():
            assert deadlines.left() is None
        assert deadlines.left() == 10.0


async def test_tasks_inherit_it() -> None:
    """A task has the deadline of what began it, even after that has ended."""

    async def seen() -> float | None:
        return deadlines.left()

    with deadlines.within(10.0, Clock()):
        task = asyncio.create_task(seen())
    assert await task == 10.0


async def test_a_task_that_bounds_itself() -> None:
    """What a task begins for itself bounds all that it does, and nothing else."""

    async def bounded() -> bool:
        deadlines.begin(10.0)
        await asyncio.sleep(0)
        return deadlines.current() is not None

    assert await asyncio.create_task(bounded())
    assert deadlines.current() is None


def test_a_context_that_is_bounded_more_tightly() -> None:
    """Bounding a context again never makes its deadline later, and leaves others as they were."""
    context = copy_context()
    assert context.run(deadlines.tighten, None) is None
    first = context.run(deadlines.tighten, 600.0)
    assert first is not None
    assert context.run(deadlines.tighten, 900.0) is first
    assert context.run(deadlines.tighten, None) is first
    second = context.run(deadlines.tighten, 300.0)
    assert second is not None
    assert second.seconds == 300.0
    assert context.run(deadlines.current) is second
    assert deadlines.current() is None
