"""One frontend as an agent knows it: a channel to it, and whether it is worth a call.

    unknown ──a call is answered──▶ answers ──a call is lost──▶ rests ──its pause is over──▶ unknown

While it rests, others are asked first, and nobody waits for a connection to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from holdfast.backend import Backend, Change
from holdfast.service.agent.outcomes import FrontendLost, outcome_of
from holdfast.service.process.background import end
from holdfast.tasks import begin
from holdfast.transport.status import Metadata, Status

CONNECTING: Final = 2.0
"""Seconds that a call waits for a connection: longer than a busy frontend needs to accept one."""
FIRST_REST: Final = 0.2
"""Seconds of the first pause after a lost call; each further one is twice as long, up to …"""
LONGEST_REST: Final = 5.0
"""… this. They vary at random by half, so that agents don't all return at once."""

KEPT: Final = 600.0
"""Seconds that a channel is kept for its calls once another one has replaced it."""

Ready: Final = grpc.ChannelConnectivity.READY
Failing: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class Upstream:
    """One frontend.

    Attributes:
        target: its address.
        under_way: calls and streams that it carries for this agent.
        up: whether its last call was answered; true before the first.
        losses: calls and streams that it didn't answer, or whose answers couldn't be right.
    """

    def __init__(
        self,
        target: str,
        channel: grpc.aio.Channel,
        *,
        clock: Callable[[], float],
        spread: Callable[[float, float], float],
        tell: Callable[[Change], None] = lambda _: None,
    ) -> None:
        """Connects when it is first needed.

        Args:
            target: the address.
            channel: to it; `close` closes it.
            clock: monotonic, in s.
            spread: returns a random number between two.
            tell: called when the frontend has been lost for a while, and when it is back.
        """
        self._backend = Backend(target, clock, tell)
        self.target = target
        self.under_way = self.losses = 0
        self.up = True
        self._channel = channel
        self._clock = clock
        self._spread = spread
        self._failures = 0
        self._rests_until = float("-inf")
        self._left: list[asyncio.Task[None]] = []

    @property
    def rests(self) -> bool:
        """Whether a call was lost so recently that others should be asked first."""
        return self._clock() < self._rests_until

    async def unary(self, path: str, raw: bytes, metadata: Metadata, seconds: float) -> bytes:
        """Makes a call with one answer.

        Raises:
            FrontendLost: there was no answer within `seconds`.
            Status: the frontend refused it.
        """
        with self._counted():
            await self.connect()
            call: Any = self._channel.unary_unary(path)
            try:
                answer: bytes = await call(raw, metadata=metadata, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                raise self.ended(error) from error
            self._answered()
            return answer

    async def stream(
        self, path: str, raw: bytes, metadata: Metadata, silence: float
    ) -> AsyncGenerator[bytes, None]:
        """Makes a call with many answers, and yields them.

        Raises:
            FrontendLost: it ended without a status, or a message didn't come within `silence`
                seconds.
            Status: the frontend ended it.
        """
        with self._counted():
            await self.connect()
            multi: Any = self._channel.unary_stream(path)
            call = multi(raw, metadata=metadata)
            try:
                while True:
                    async with asyncio.timeout(silence):
                        message: Any = await call.read()
                    if message is grpc.aio.EOF:
                        return
                    self._answered()
                    yield message
            except grpc.aio.AioRpcError as error:
                raise self.ended(error) from error
            except TimeoutError as error:
                raise self.silent(silence) from error
            finally:
                call.cancel()

    @contextmanager
    def converse(self, path: str, metadata: Metadata) -> Iterator[Any]:
        """Begins a call with messages in both directions; it is cancelled at the end.

        `connect` comes before, and `ended` says what became of it.
        """
        with self._counted():
            multi: Any = self._channel.stream_stream(path)
            call = multi(metadata=metadata)
            try:
                yield call
            finally:
                call.cancel()

    async def connect(self) -> None:
        """Waits for the connection, but not for one that has just failed.

        Raises:
            FrontendLost: there is none.
        """
        state = self._channel.get_state(try_to_connect=True)
        if state is Ready:
            return
        if self.rests or state is Failing:
            raise self._lost(f"frontend {self.target} can't be reached")
        try:
            async with asyncio.timeout(CONNECTING):
                while state is not Ready:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
                    if state is Failing:
                        break
        except TimeoutError:
            pass
        if state is not Ready:
            raise self._lost(f"frontend {self.target} can't be reached")

    def ended(self, error: grpc.aio.AioRpcError) -> Status | FrontendLost:
        """Returns what a call's error means, and remembers whether the frontend answers."""
        outcome = outcome_of(error, self.target)
        if isinstance(outcome, FrontendLost):
            self._lost(str(outcome))
        else:
            self._answered()
        return outcome

    def silent(self, seconds: float) -> FrontendLost:
        """Returns the error for a message that didn't come within so many seconds."""
        return self._lost(f"frontend {self.target} was silent for {seconds:.3g} s")

    def distrust(self) -> None:
        """Has others be asked first for a while: it sent bytes that can't be right."""
        self._lost("")

    def _lost(self, text: str) -> FrontendLost:
        longest = min(FIRST_REST * 2**self._failures, LONGEST_REST)
        self._failures = min(self._failures + 1, 16)
        self._rests_until = self._clock() + self._spread(longest / 2, longest)
        self.up = False
        self.losses += 1
        if text:
            self._backend.unanswered(self._clock())
        return FrontendLost(text)

    def _answered(self) -> None:
        self._failures, self._rests_until, self.up = 0, float("-inf"), True
        self._backend.answered()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    def replace(self, channel: grpc.aio.Channel) -> None:
        """Uses another channel from now on; calls under way keep theirs until they end."""
        self._left.append(begin(self._channel.close(KEPT)))
        self._channel = channel

    async def close(self) -> None:
        """Closes the connections, and ends what they carry."""
        await self._channel.close()
        await end(self._left)
