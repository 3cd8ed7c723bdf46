"""The loop that serves RPCs, as another thread sees it: does it move, and what does it know?

A process whose loop stands still is of no use to anybody, and can't say so itself. So the loop
notes several times a second that it runs, and another thread looks at when it last did.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from holdfast.errors import Unavailable
from holdfast.tasks import begin

BEAT: Final = 0.25
"""Seconds between two beats."""
MINUTE: Final = round(60 / BEAT)
"""Beats whose delays are remembered."""
PATIENCE: Final = 2.0
"""Seconds that the loop has for an answer: people wait for it."""
LONG_PATIENCE: Final = 6.0
"""The same if the answer needs Redis, which may be away: two requests' time-outs."""
Result = TypeVar("Result")


class MainLoop:
    """The running loop. Other threads may use everything but `keep`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begins with a loop that moves; call it in the loop.

        Args:
            clock: in s, never set back.
        """
        self.loop = asyncio.get_running_loop()
        self._clock = clock
        self._beaten = clock()
        self._delays: deque[float] = deque(maxlen=MINUTE)

    async def keep(self) -> None:
        """Beats for as long as the process serves."""
        while True:
            await asyncio.sleep(BEAT)
            now = self._clock()
            self._delays.append(max(0.0, now - self._beaten - BEAT))
            self._beaten = now

    @property
    def standing(self) -> float:
        """Seconds for which the loop has done nothing, as far as is known; 0 if it moves."""
        return max(0.0, self._clock() - self._beaten - BEAT)

    @property
    def delay(self) -> float:
        """By how many seconds the last beat was late."""
        return self._delays[-1] if self._delays else 0.0

    @property
    def longest_delay(self) -> float:
        """The same, the most of the last minute."""
        return max(list(self._delays), default=0.0)

    async def ask(self, question: Callable[[], Result]) -> Result:
        """Has the loop answer a question, which mustn't wait; to be awaited in another loop.

        Raises:
            Unavailable: the loop doesn't answer within `PATIENCE`.
            whatever the question raises.
        """
        answer: concurrent.futures.Future[Result] = concurrent.futures.Future()

        def reply() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(question())
            except Exception as error:  # noqa: BLE001 -- whoever asks gets it
                answer.set_exception(error)

        self.tell(reply)
        return await self._answered(answer, PATIENCE)

    async def consult(self, question: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Has the loop answer a question for which it may have to wait, as `ask` does.

        Raises:
            Unavailable: there is no answer within `LONG_PATIENCE`.
            whatever the question raises.
        """
        answer: concurrent.futures.Future[Result] = concurrent.futures.Future()

        async def reply() -> None:
            try:
                found = await question()
            except Exception as error:  # noqa: BLE001 -- whoever asks gets it
                if answer.set_running_or_notify_cancel():
                    answer.set_exception(error)
            else:
                if answer.set_running_or_notify_cancel():
                    answer.set_result(found)

        self.tell(lambda: _begun(reply()))
        return await self._answered(answer, LONG_PATIENCE)

    async def _answered(self, answer: concurrent.futures.Future[Result], patience: float) -> Result:
        try:
            async with asyncio.timeout(patience):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise Unavailable(
                f"the loop that serves RPCs hasn't answered; it last moved {self.standing:.0f} s "
                "ago, and /debug/stacks shows what it does"
            ) from None

    def tell(self, call: Callable[[], None]) -> None:
        """Has the loop make a call when it can."""
        with suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(call)


def _begun(work: Coroutine[Any, Any, None]) -> None:
    begin(work)
