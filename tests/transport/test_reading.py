"""Who reads when: however much is received, an iteration of the loop reads a bounded part of it."""

from __future__ import annotations

import asyncio
from collections import Counter

from holdfast.transport import Call, Limits, Unary, frames
from holdfast.transport.reading import AT_ONCE, TURN
from tests.transport.serving import PATH, until
from tests.transport.wire import HELLO, Talk, call

CALLS = 200
FRAMES = 2
"""Of a call."""
MANY = 20
"""Connections."""
FLOOD = range(1, 2 * CALLS, 2)


class Counting:
    """A server that counts its calls, by what the clients say."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.calls: Counter[bytes] = Counter()
        self._limits = limits or Limits()
        self._first: Talk | None = None

    async def _never(self, *_: object) -> bytes:
        raise AssertionError

    def _count(self, message: bytes, _: Call) -> bytes:
        self.calls[message] += 1
        return b""

    def connection(self) -> Talk:
        """One more connection, which has said hello."""
        talk = Talk({PATH: Unary(self._never, self._count)}, self._limits, self._first)
        self._first = self._first or talk
        talk.give(HELLO)
        return talk


def flood(talk: Talk, name: bytes) -> None:
    """Sends many calls at once."""
    talk.give(b"".join(call(number, name) for number in FLOOD))


async def test_many_floods_are_read_in_turns() -> None:
    """In one iteration all connections together read a bounded number of frames that waited."""
    server = Counting()
    talks = [server.connection() for _ in range(MANY)]
    for talk in talks:
        flood(talk, b"flood")
    while (before := server.calls.total()) < MANY * CALLS:
        await asyncio.sleep(0)
        assert 0 < server.calls.total() - before <= TURN / FRAMES
    assert all(talk.wire.reading for talk in talks)
    for talk in talks:
        talk.end()


async def test_a_call_beside_floods_is_read_at_once() -> None:
    """A connection that has few frames doesn't wait for those that have many."""
    server = Counting()
    for _ in range(MANY):
        flood(server.connection(), b"flood")
    before = server.calls.total()
    server.connection().give(call(1, b"neighbour"))
    assert server.calls[b"neighbour"] == 1
    assert before <= MANY * AT_ONCE / FRAMES


async def test_floods_take_turns() -> None:
    """Connections with much to read advance alike, also one that came last."""
    server = Counting()
    names = [bytes([number]) for number in range(MANY)]
    for name in names:
        flood(server.connection(), name)
    while server.calls.total() < MANY * CALLS:
        await asyncio.sleep(0)
        counts = [server.calls[name] for name in names]
        assert max(counts) - min(counts) <= TURN / FRAMES


async def test_a_connection_that_is_gone_has_no_turn() -> None:
    """What a client had sent isn't served once its connection is lost; others get their turns."""
    server = Counting()
    lost, other = server.connection(), server.connection()
    flood(lost, b"lost")
    flood(other, b"other")
    lost.end()
    before = server.calls[b"lost"]
    await until(lambda: server.calls[b"other"] == CALLS)
    assert server.calls[b"lost"] == before


async def test_nobody_is_late_who_waits_for_a_turn() -> None:
    """The bound for a frame that has begun isn't for frames that we haven't read yet."""
    talk = Counting().connection()
    whole = b"".join(call(number) for number in FLOOD)
    talk.give(whole, frames.frame(frames.PING, 0, 0, bytes(8))[:-1])
    assert not talk.wire.reading
    assert talk.protocol.within_since is None
    while not talk.wire.reading:
        assert talk.protocol.within_since is None
        await asyncio.sleep(0)
    assert talk.protocol.within_since is not None
