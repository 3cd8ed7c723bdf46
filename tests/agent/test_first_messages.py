"""A stream's first message that was lost: its frontend may have locked the ref."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import pytest

from holdfast.errors import KIND, Locked, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.outcomes import FrontendLost, outcome_of
from holdfast.service.agent.passage import RelayPath
from holdfast.service.agent.relay import WriteRelay
from holdfast.service.agent.room import ReplayRoom
from holdfast.service.agent.upstreams import Upstreams
from holdfast.service.process.background import Background
from holdfast.service.rpc import wire
from holdfast.transport.status import Code, Status
from tests.agent.scripted import Scripted, Waits
from tests.service.sender import Sender

DEADLINE: Final = 10.0
LEASE: Final = 15.0
PATIENCE: Final = 60.0
"""As by default, in s."""
OFFSET: Final = 7
"""What a frontend answers that has the ref."""
BROKEN: Final = ""
LOCKED: Final = Locked.__name__
AWAY: Final = Unavailable.__name__


class _Call:
    """A stream whose first message is answered with an error, or with an offset."""

    def __init__(self, error: str | None) -> None:
        self._error = error

    def add_done_callback(self, _: object) -> None:
        """Never called."""

    def cancel(self) -> None:
        """Ends nothing."""

    async def write(self, _: bytes) -> None:
        """Sends nothing."""

    async def read(self) -> bytes:
        """The answer."""
        if self._error is None:
            return pb.WriteContentResponse(offset=OFFSET).SerializeToString()
        trailers = [(KIND, self._error)] if self._error else []
        none, metadata = grpc.aio.Metadata(), grpc.aio.Metadata(*trailers)
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, none, metadata)


async def _no_answers() -> AsyncIterator[bytes]:
    """Answers to other calls."""
    for none in tuple[bytes, ...]():
        yield none


class _Frontend(Scripted):
    """A frontend whose streams end as a script says."""

    def __init__(self, script: Callable[[], str | None]) -> None:
        super().__init__(lambda _, __: _no_answers())
        self._script = script

    async def connect(self) -> None:
        """At once."""

    @contextmanager
    def converse(self, _path: str, _metadata: object) -> Iterator[Any]:
        """Begins a stream."""
        yield _Call(self._script())

    def ended(self, error: grpc.aio.AioRpcError) -> Status | FrontendLost:
        """What became of it."""
        return outcome_of(error, self.target)


class _Stream:
    """A client's stream of which the first message is answered as a script says."""

    def __init__(self, script: Callable[[float], str | None], *, alone: bool = True) -> None:
        """Sends nothing yet.

        Args:
            script: returns the error at a time; None: the message is answered.
            alone: whether no other stream writes the ref.
        """
        self.clock = Waits()
        frontend = _Frontend(lambda: script(self.clock()))
        self._relay = WriteRelay(
            RelayPath(
                Upstreams(
                    [frontend],
                    "",
                    clock=self.clock,
                    spread=lambda _, most: most,
                    sleep=self.clock.sleep,
                ),
                ReplayRoom(2**20, Background().start),
                clock=self.clock,
                deadline=DEADLINE,
                patience=PATIENCE,
                grace=1.0,
            ),
            "tenant",
            Sender(),
            lambda _: alone,
        )

    async def begin(self) -> pb.WriteContentResponse:
        """Sends the first message; returns the answer."""
        raw = pb.WriteContentRequest(action=pb.STAT, ref="ref").SerializeToString()
        await self._relay.admit(len(raw))
        return await self._relay.ask(wire.read_write_request(raw), raw)


def lost_and_then(error: str, seconds: float = PATIENCE) -> Callable[[float], str | None]:
    """The frontend is lost at once; from then on there is an error for so many seconds."""
    first = iter([BROKEN])

    def script(now: float) -> str | None:
        return next(first, error if now < seconds else None)

    return script


async def test_the_lease_of_a_lost_frontend_is_waited_for() -> None:
    """A ref that a lost frontend has locked is waited for, though that is longer than an RPC."""
    stream = _Stream(lost_and_then(LOCKED, LEASE))
    assert (await stream.begin()).offset == OFFSET
    assert LEASE <= stream.clock() < LEASE + DEADLINE


async def test_the_wait_ends() -> None:
    """A ref that stays locked for longer than the patience is refused then."""
    stream = _Stream(lost_and_then(LOCKED, 2 * PATIENCE))
    with pytest.raises(Status) as caught:
        await stream.begin()
    assert caught.value.code is Code.UNAVAILABLE
    assert LEASE + DEADLINE < stream.clock() <= PATIENCE


@pytest.mark.parametrize(
    ("script", "alone"),
    [
        (lost_and_then(LOCKED), False),
        (lambda _: LOCKED, True),
        (lost_and_then(AWAY), True),
    ],
    ids=["another stream of this node has it", "nothing was lost", "it isn't locked"],
)
async def test_what_is_not_waited_for(
    script: Callable[[float], str | None], *, alone: bool
) -> None:
    """A first message gets any other UNAVAILABLE at once: a node's database waits for it."""
    stream = _Stream(script, alone=alone)
    with pytest.raises(Status) as caught:
        await stream.begin()
    assert caught.value.code is Code.UNAVAILABLE
    assert stream.clock() < 1.0
