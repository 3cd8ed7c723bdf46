"""A line: the one connection to a Redis server that all callers of one purpose share.

Whatever is asked within a turn of the event loop is written in one go, and Redis answers in the
order in which it was asked. So each reply belongs to the oldest request without one. A caller that
is cancelled changes nothing in that order: if its request was sent, the reply is read and dropped.

    unsent ──written──▶ sent ──reply──▶ answered
      ▲                  │
      └──────────────────┘  the connection is lost: Redis may have carried out any of them

If the connection is lost, the oldest sent request fails, because it may be the reason; the caller
repeats it or doesn't. Those behind it are sent again at once, on the next connection: each request
of Holdfast may be carried out twice.

A line connects when something is asked, and when it was lost with requests still to send.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from hiredis import Reader
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdfast.coordination.wire import MORE, Wire, Word, next_reply, packed, take_over
from holdfast.errors import because
from holdfast.tasks import begin

ASKING: Final = packed("ASKING")
"""Before a request: a cluster's node may answer it although its slot is just moving there."""
UNASKED: Final = "Redis sent a reply that nobody asked for"
CLOSED: Final = "the client was closed"
NO_REPLY: Final = "Redis hasn't answered"
"""How the error begins if a connection was closed because Redis was silent on it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a line allows itself and Redis.

    Attributes:
        requests: that have no reply yet, sent or not; more are refused. Overload ends far below
            in admission, so a full line means that Redis is too slow for the load.
        size: bytes of those requests; a larger one is sent only if it is alone.
        silence: seconds without a byte from Redis, while a reply is due, that end a connection.
        longest: seconds after which one reply that is still incomplete ends it.
        sends: how often a request is sent at most, if it isn't the oldest on a lost connection.
    """

    requests: int = 10_000
    size: int = 16 * 2**20
    silence: float = 0.8
    longest: float = 1.8
    sends: int = 3


READ_FIRST: Final = 0.02
"""Seconds in which a process that was itself stopped reads what has arrived, before it blames
Redis."""


class LineFull(redis_errors.RedisError):
    """A line refuses a request: too many have no reply yet. Nothing was sent."""


@dataclass(slots=True, eq=False)
class _Request:
    """One request.

    Attributes:
        raw: as it is sent.
        replies: how many Redis sends; the last one is the caller's.
        answer: where the caller waits.
        due: replies that haven't come yet.
        sends: how often it was sent.
        sent_at: when it was sent last, by the loop's clock.
    """

    raw: bytes
    replies: int
    answer: asyncio.Future[Any]
    due: int = 0
    sends: int = 0
    sent_at: float = 0.0


class Line:
    """One connection to one server, and the requests on it."""

    def __init__(
        self,
        connection: Callable[[], AbstractConnection],
        bounds: Bounds,
        name: str = "",
        ends: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        """Connects to nothing yet.

        Args:
            connection: makes a connection of redis-py, which connects and authenticates itself.
            bounds: of what may be under way.
            name: by which CLIENT LIST shows the connection; "" for none.
            ends: whether an error that Redis answers means that this connection is of no more use;
                the request then counts as one without an answer.
        """
        self._new = connection
        self._bounds = bounds
        self._ends = ends
        self._name = name
        self._unsent: deque[_Request] = deque()
        self._sent: deque[_Request] = deque()
        self._size = 0
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._flushing = self._late = self._closed = False

    def __len__(self) -> int:
        """How many requests have no reply yet."""
        return len(self._unsent) + len(self._sent)

    @property
    def connected(self) -> bool:
        """Whether it has a connection now."""
        return self._wire is not None

    async def ask(self, words: tuple[Word, ...], *, asking: bool = False) -> Any:  # noqa: ANN401 -- whatever Redis replies
        """Sends a request and returns the reply.

        Args:
            words: the command and its arguments.
            asking: for a cluster's node: the request's slot is just moving there.

        Raises:
            RedisError: what Redis answers; or ConnectionError or TimeoutError: there is no answer,
                and Redis may have carried it out; or LineFull.
        """
        raw = ASKING + packed(*words) if asking else packed(*words)
        self._admit(len(raw))
        loop = asyncio.get_running_loop()
        request = _Request(raw, 2 if asking else 1, loop.create_future())
        self._unsent.append(request)
        self._size += len(raw)
        if self._wire is None:
            self._connect()
        elif not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush)
        return await request.answer

    def _admit(self, size: int) -> None:
        if self._closed:
            raise redis_errors.ConnectionError(CLOSED)
        waiting, bounds = len(self), self._bounds
        if waiting >= bounds.requests:
            raise LineFull(f"{waiting} requests wait for a reply, and no more than that may wait")
        if waiting and self._size + size > bounds.size:
            raise LineFull(
                f"requests of {self._size} bytes wait for a reply, and no more than {bounds.size} "
                "bytes may wait"
            )

    async def close(self) -> None:
        """Closes the connection; whoever waits for a reply gets an error."""
        self._closed = True
        if connecting := self._connecting:
            connecting.cancel()
            await asyncio.wait([connecting])
        self._drop_wire()
        gone = [*self._sent, *self._unsent]
        self._sent.clear()
        self._unsent.clear()
        for request in gone:
            self._fail(request, redis_errors.ConnectionError(CLOSED))

    # -- sending

    def _flush(self) -> None:
        """Writes all that is to be sent, as far as the socket takes it."""
        self._flushing = False
        wire = self._wire
        if wire is None or wire.paused or not self._unsent:
            return
        now = asyncio.get_running_loop().time()
        if raw := b"".join(request.raw for request in self._sending(now)):
            wire.write(raw)
            self._watch_for_replies()

    def _sending(self, now: float) -> Iterator[_Request]:
        while self._unsent:
            request = self._unsent.popleft()
            if request.answer.done():  # its caller has given up
                self._leave(request)
                continue
            request.due, request.sent_at = request.replies, now
            request.sends += 1
            self._sent.append(request)
            yield request

    def _leave(self, request: _Request) -> None:
        self._size -= len(request.raw)

    def _fail(self, request: _Request, error: Exception) -> None:
        self._leave(request)
        if not request.answer.done():
            request.answer.set_exception(error)

    # -- connecting

    def _connect(self) -> None:
        if self._connecting is None and not self._closed:
            self._connecting = begin(self._connected())

    async def _connected(self) -> None:
        """Connects, and sends what waits; if that fails, all that waits fails."""
        try:
            connection = self._new()
            connection.retry = Retry(NoBackoff(), 0)
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                await self._introduce(connection)
                wire = take_over(connection, self)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the callers must learn of it
            waiting, self._unsent = self._unsent, deque()
            for request in waiting:
                self._fail(request, _same(error))
            return
        finally:
            self._connecting = None
        self._wire = wire
        self._flush()

    async def _introduce(self, connection: AbstractConnection) -> None:
        """Gives a connection its name; a user that may not do that works without one."""
        if self._name:
            await connection.send_command("CLIENT", "SETNAME", self._name)
            with suppress(redis_errors.ResponseError):
                await connection.read_response()

    # -- receiving

    def received(self, wire: Wire, reader: Reader) -> None:
        """Hands each complete reply to the oldest request without one."""
        self._heard = asyncio.get_running_loop().time()
        try:
            while wire is self._wire and (reply := next_reply(reader)) is not MORE:
                self._answer(wire, reply)
        except redis_errors.InvalidResponse as error:
            self.lost(wire, error)

    def _answer(self, wire: Wire, reply: Any) -> None:  # noqa: ANN401 -- whatever Redis replies
        if not self._sent:
            text = because(reply) if isinstance(reply, Exception) else UNASKED
            self.lost(wire, redis_errors.ConnectionError(text))
            return
        request = self._sent[0]
        request.due -= 1
        if request.due:
            return
        self._sent.popleft()
        if not isinstance(reply, Exception):
            self._leave(request)
            if not request.answer.done():
                request.answer.set_result(reply)
            return
        if not self._ends(reply):
            self._fail(request, reply)
            return
        error = redis_errors.ConnectionError(because(reply))
        self._fail(request, _same(error))
        self.lost(wire, error, blame=False)

    def writable(self, wire: Wire) -> None:
        """The socket takes bytes again."""
        if wire is self._wire:
            self._flush()

    # -- losing the connection

    def lost(self, wire: Wire, error: Exception, *, blame: bool = True) -> None:
        """Gives a connection up: the oldest request fails, the others are sent again.

        Args:
            wire: the connection; one that was given up before is ignored.
            error: for the oldest request.
            blame: whether the oldest request may be the reason.
        """
        if wire is not self._wire:
            return
        self._drop_wire()
        sent, self._sent = self._sent, deque()
        again: list[_Request] = []
        for request in sent:
            blamed, blame = blame, False
            if request.answer.done():
                self._leave(request)
            elif blamed or request.sends >= self._bounds.sends:
                self._fail(request, _same(error))
            else:
                again.append(request)
        self._unsent.extendleft(reversed(again))
        if self._unsent:
            self._connect()

    def _drop_wire(self) -> None:
        if wire := self._wire:
            self._wire = None
            wire.abort()
        if self._watch:
            self._watch.cancel()
            self._watch = None

    def _watch_for_replies(self) -> None:
        if self._watch is None:
            first = min(self._bounds.silence, self._bounds.longest)
            self._watch = asyncio.get_running_loop().call_later(first, self._look)

    def _look(self) -> None:
        """Gives the connection up if Redis is silent on it, or doesn't finish a reply."""
        self._watch, wire = None, self._wire
        if wire is None or not self._sent:
            return
        loop, bounds, sent_at = asyncio.get_running_loop(), self._bounds, self._sent[0].sent_at
        now = loop.time()
        left = min(max(sent_at, self._heard) + bounds.silence, sent_at + bounds.longest) - now
        if left > 0:
            self._late = False
        elif self._late:
            waited = now - sent_at
            self.lost(wire, redis_errors.TimeoutError(f"{NO_REPLY} within {waited:.1f} s"))
            return
        else:
            self._late, left = True, READ_FIRST
        self._watch = loop.call_later(left, self._look)


def _same(error: Exception) -> Exception:
    """The error for one more caller: a shared one would collect the traces of all."""
    same = copy(error)
    same.__cause__ = error.__cause__ or error.__context__
    return same
