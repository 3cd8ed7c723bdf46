"""Blocking code on the event loop: while it waits, the loop does other work.

    begin(call)       the call runs on the loop, in a greenlet of its own
      … wait(future)  it switches to the loop, and continues once the future is done
      … apart(call)   what blocks, or computes for long, runs in a thread meanwhile
    its outcome       is a future, as that of a call in a thread

So an operation that makes several requests is written once: in a thread it blocks, on the loop it
switches, and only the code that talks to a socket knows which of the two it is. A call that has
begun ends by itself, in both cases, whether anybody still waits for it or not.

Other work of the loop runs during a switch. So no lock of threads may be held across one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Final, ParamSpec, TypeVar

from greenlet import getcurrent, greenlet

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Operation:
    """A call on the loop: the greenlet that it runs in, and the threads for what blocks."""

    greenlet: greenlet
    threads: Executor

    def resume(self, _: object) -> None:
        self.greenlet.switch()


_OPERATION: Final[ContextVar[_Operation | None]] = ContextVar("operation", default=None)
"""The operation whose context this is: threads and tasks that it begins inherit the context, so
the greenlet decides whether they are the operation itself."""


def begin(
    call: Callable[[], Result], threads: Executor, context: Context
) -> asyncio.Future[Result]:
    """Begins a call on the running loop; it runs at once, until it waits for the first time.

    Args:
        call: blocking code that waits only by `wait` and `apart`.
        threads: run what blocks all the same.
        context: what the call runs in, as in a thread; it belongs to the call from now on.

    Returns:
        Its outcome. If that is cancelled, the call continues all the same.
    """
    outcome: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def carry_out() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 -- whoever waits gets it
            if not outcome.done():
                outcome.set_exception(error)
        else:
            if not outcome.done():
                outcome.set_result(result)

    operation = _Operation(greenlet(carry_out), threads)
    context.run(_OPERATION.set, operation)
    operation.greenlet.gr_context = context
    operation.greenlet.switch()
    return outcome


def current() -> bool:
    """Whether the caller runs in an operation on the loop, whose thread it must not block."""
    operation = _OPERATION.get()
    return operation is not None and operation.greenlet is getcurrent()


def wait(future: asyncio.Future[Result]) -> Result:
    """Waits for a future or a task, in an operation on the loop, which works on meanwhile."""
    operation = _operation()
    future.add_done_callback(operation.resume)
    loop = operation.greenlet.parent
    assert loop is not None  # noqa: S101 -- a greenlet has a parent until it ends
    loop.switch()
    return future.result()


def apart(
    call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Carries out what blocks, or computes for long: in a thread if the caller is on the loop."""
    if not current():
        return call(*args, **kwargs)
    threads, run = _operation().threads, copy_context().run
    return wait(asyncio.wrap_future(threads.submit(run, partial(call, *args, **kwargs))))


def _operation() -> _Operation:
    operation = _OPERATION.get()
    if operation is None or operation.greenlet is not getcurrent():
        raise RuntimeError("only an operation on the loop can wait by switching to it")
    return operation
