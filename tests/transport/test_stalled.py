"""Calls whose client lets a message wait: they end, but never those of a client that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from holdfast.transport import Bidirectional, Call, Limits, ServerStream, frames
from holdfast.transport.counts import Refusal
from holdfast.transport.inbox import PREFIX
from tests.transport.serving import PATH, until
from tests.transport.wire import REQUEST, Frame, Talk, call

LIMITS = Limits(stalled=100.0)
CLOSED = frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 0})
SIZE = 1_000_000


class Handlers:
    """A handler for each direction, and how many wait."""

    def __init__(self) -> None:
        self.waiting = 0

    async def send(self, _: bytes, one: Call) -> None:
        """Sends a message."""
        await self._wait(lambda: one.send(bytes(SIZE)))

    async def receive(self, one: Call) -> None:
        """Receives messages until there are no more."""

        async def all_of_them() -> None:
            while await one.receive() is not None:
                pass

        await self._wait(all_of_them)

    async def _wait(self, work: Callable[[], object]) -> None:
        self.waiting += 1
        try:
            await work()  # type: ignore[misc]  # a coroutine
        finally:
            self.waiting -= 1


@pytest.fixture
def handlers() -> Handlers:
    """The handlers of a test."""
    return Handlers()


def status(sent: list[Frame]) -> bytes | None:
    """The last header block of a stream that has ended."""
    ended = [one for one in sent if one.kind == frames.HEADERS and one.flags & frames.END_STREAM]
    return ended[-1].payload if ended else None


async def test_an_answer_that_is_never_read(handlers: Handlers) -> None:
    """A call whose client opens no window for its answer ends, and its handler with it."""
    talk = Talk({PATH: ServerStream(handlers.send)}, LIMITS)
    talk.give(CLOSED, call(1))
    await until(lambda: handlers.waiting == 1)
    look = talk.protocol.connection.end_stalled
    for now in (0, 50, 100):
        look(now)
    assert status(talk.take()) is None
    look(101)
    await asyncio.sleep(0)
    assert b"too long" in (status(talk.take()) or b"")
    await until(lambda: handlers.waiting == 0)
    assert talk.counts.streams == 0
    assert talk.counts.refused == {Refusal.UNREAD: 1}
    talk.end()


async def test_an_answer_that_is_read_slowly(handlers: Handlers) -> None:
    """A client that takes a byte now and then keeps its call, however long that takes."""
    talk = Talk({PATH: ServerStream(handlers.send)}, LIMITS)
    talk.give(CLOSED, call(1))
    await until(lambda: handlers.waiting == 1)
    for number in range(20):
        talk.protocol.connection.end_stalled(90 * number)
        talk.give(frames.window_update(1, 1))
    assert handlers.waiting == 1
    talk.give(frames.window_update(0, SIZE), frames.window_update(1, SIZE))
    await until(lambda: handlers.waiting == 0)
    assert talk.counts.refused == {}
    talk.end()


async def test_an_answer_at_once_that_is_never_read() -> None:
    """A call that was answered without a task ends, too, if its answer is never read."""
    talk = Talk({PATH: ServerStream(Handlers().send, lambda *_: [[bytes(300_000)]])}, LIMITS)
    small = frames.settings({frames.INITIAL_WINDOW_SIZE: 2**20})
    talk.give(frames.PREFACE, small, frames.window_update(0, 2**20), call(1))
    talk.protocol.pause_writing()
    await asyncio.sleep(0)
    for now in (0, 101):
        talk.protocol.connection.end_stalled(now)
    assert talk.counts.streams == 0
    talk.end()


@pytest.mark.parametrize("size", [100, 50_000])
async def test_a_message_that_never_ends(handlers: Handlers, size: int) -> None:
    """A call whose client stops within a message ends, but one that waits between two doesn't."""
    talk = Talk({PATH: Bidirectional(handlers.receive)}, LIMITS)
    whole = PREFIX.pack(0, 3) + b"abc"
    for stream, begun in ((1, whole), (3, whole + PREFIX.pack(0, size) + b"half")):
        opened = frames.headers(stream, REQUEST, end=False)
        talk.give(CLOSED if stream == 1 else b"", opened, frames.frame(0, 0, stream, begun))
    await until(lambda: handlers.waiting == 2)
    await asyncio.sleep(0)
    for now in (0, 99, 101):
        talk.protocol.connection.end_stalled(now)
    await until(lambda: handlers.waiting == 1)
    assert talk.counts.streams == 1
    assert talk.counts.refused == {Refusal.LATE: 1}
    talk.end()
