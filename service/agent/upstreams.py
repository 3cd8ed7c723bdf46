"""Several equivalent frontends: which one is asked, and for how long others are tried.

A call is made to the frontend that carries least of this agent's work. If that gives no answer, the
next one is asked; after a round without an answer there is a pause. If no frontend has answered
for `PATIENCE`, calls make one round and fail, so that a node without a network isn't kept waiting
by each of its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from holdfast import origins
from holdfast.client.token_file import TokenFile
from holdfast.errors import Unavailable
from holdfast.service.agent.channels import Channels
from holdfast.service.agent.outcomes import FrontendLost, refuses
from holdfast.service.agent.upstream import Upstream
from holdfast.transport.status import Code, Metadata, Status

PATIENCE: Final = 5.0
"""Seconds for which a call waits for any frontend, if one has answered in that time: longer than
a frontend's restart behind a single address, and bearable for a node's database."""
FIRST_PAUSE: Final = 0.05
"""Seconds of the longest pause after the first round without an answer; it doubles up to …"""
LONGEST_PAUSE: Final = 1.0
"""… this."""

LOOK: Final = 10.0
"""Seconds between two looks at the node's certificate and token."""

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]


class Upstreams:
    """The frontends of an agent."""

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        tenant_header: str,
        *,
        token: TokenFile | None = None,
        clock: Callable[[], float],
        spread: Callable[[float, float], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Asks none of them yet.

        Args:
            upstreams: the frontends, at least one.
            tenant_header: the header that names the tenant to them; "" if they know it already.
            token: what proves to them who asks, if it isn't the certificate.
            clock: monotonic, in s.
            spread: returns a random number between two.
            sleep: waits so many seconds.
        """
        self.all = tuple(upstreams)
        self._tenant_header = tenant_header
        self._token = token
        self._clock = clock
        self._spread = spread
        self._sleep = sleep
        self._answered = clock()

    def metadata(self, tenant: str) -> Metadata:
        """Returns what is sent with a call of a tenant, on behalf of the request of its client."""
        named: Metadata = ((self._tenant_header, tenant),) if self._tenant_header else ()
        token = () if self._token is None else self._token.metadata
        origin = origins.current()
        return (*named, *token, *(() if origin is None else origin.headers))

    def attempts(
        self, seconds: float, prefer: Upstream | None = None, *, hopeful: bool = False
    ) -> Attempts:
        """Returns frontends to try, one after the other.

        Args:
            seconds: the patience.
            prefer: the one to try first, unless it rests.
            hopeful: whether to be as patient if none has answered for a while.
        """
        return Attempts(
            self,
            seconds,
            prefer,
            hopeful=hopeful,
            clock=self._clock,
            spread=self._spread,
            sleep=self._sleep,
        )

    def order(self, prefer: Upstream | None) -> list[Upstream]:
        """Returns all frontends, the one to ask first at the beginning."""

        def rank(one: Upstream) -> tuple[bool, bool, int, float]:
            return one.rests, one is not prefer, one.under_way, self._spread(0.0, 1.0)

        return sorted(self.all, key=rank)

    def answered(self) -> None:
        """Notes that a frontend has answered just now."""
        self._answered = self._clock()

    @property
    def away(self) -> bool:
        """Whether none has answered for so long that calls shouldn't wait for one."""
        return self._clock() - self._answered >= PATIENCE and not any(one.up for one in self.all)

    async def ask(
        self,
        path: str,
        raw: bytes,
        tenant: str,
        seconds: float,
        prefer: Upstream | None = None,
    ) -> bytes:
        """Makes a call with one answer, which may be repeated.

        Raises:
            FrontendLost: no frontend has answered.
            Status: a frontend refused it; UNIMPLEMENTED if none knows the call.
        """
        attempts, metadata = self.attempts(seconds, prefer), self.metadata(tenant)
        older: set[Upstream] = set()
        async for upstream in attempts:
            try:
                answer = await upstream.unary(path, raw, metadata, attempts.share)
            except FrontendLost as lost:
                attempts.failed(lost)
            except Status as status:
                self.answered()
                if status.code is Code.UNIMPLEMENTED:  # while a fleet is upgraded, others know it
                    older.add(upstream)
                    if len(older) == len(self.all):
                        raise
                elif not refuses(status):
                    raise
                attempts.failed(status)
            else:
                self.answered()
                return answer
        raise AssertionError

    async def renew(self, channels: Channels) -> None:
        """Replaces all channels whenever the node's certificate has been renewed, in a loop."""
        while True:
            await self._sleep(LOOK)
            if await asyncio.to_thread(channels.renew):
                for upstream in self.all:
                    upstream.replace(channels.open(upstream.target))
                log.info("certificate renewed; frontends are connected to with it")

    async def renew_token(self) -> None:
        """Reads the token again whenever its file has changed, in a loop."""
        token, before = self._token, ""
        while token is not None:
            await self._sleep(LOOK)
            await asyncio.to_thread(token.renew)
            if token.trouble and token.trouble != before:
                log.warning("token not read; the earlier one is sent", reason=token.trouble)
            before = token.trouble

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*(upstream.close() for upstream in self.all))


class Attempts:
    """Frontends to try, until one answers or the patience is exhausted.

    Iterating raises the last error that `failed` was told of, once the time is over.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        seconds: float,
        prefer: Upstream | None,
        *,
        hopeful: bool,
        clock: Callable[[], float],
        spread: Callable[[float, float], float],
        sleep: Sleep,
    ) -> None:
        self._upstreams = upstreams
        self._seconds = seconds
        self._prefer = prefer
        self._hopeful = hopeful
        self._clock = clock
        self._spread = spread
        self._sleep = sleep
        self._began = clock()
        self._until = self._began + seconds
        self._round: list[Upstream] = []
        self._rounds = 0
        self._error: Status | Unavailable | None = None

    @property
    def left(self) -> float:
        """Seconds until the patience is exhausted, at least 0."""
        return max(0.0, self._until - self._clock())

    @property
    def share(self) -> float:
        """Seconds that the current frontend may be silent, so that another one can be asked."""
        return self.left / 2 if len(self._upstreams.all) > 1 else self.left

    def failed(self, error: Status | Unavailable) -> None:
        """Notes why the current frontend wasn't the last one."""
        self._error = error

    def progress(self) -> None:
        """Begins the time anew: something has been achieved."""
        self._until, self._rounds = self._clock() + self._seconds, 0

    def extend(self, seconds: float) -> None:
        """Has the patience last for so many seconds from the beginning, unless it lasts longer."""
        self._until = max(self._until, self._began + seconds)

    def __aiter__(self) -> Attempts:
        return self

    async def __anext__(self) -> Upstream:
        """Returns the frontend to try next.

        Raises:
            Unavailable, Status: why the last one failed; there is no time for another.
        """
        if not self._round:
            if self._rounds:
                await self._pause()
            self._rounds += 1
            self._round = self._upstreams.order(self._prefer)
        elif not self.left and self._error is not None:
            raise self._error
        return self._round.pop(0)

    async def _pause(self) -> None:
        error = self._error
        if error is None:
            raise AssertionError
        longest = min(FIRST_PAUSE * 2 ** min(self._rounds - 1, 16), LONGEST_PAUSE)
        pause = self._spread(0.0, longest)
        if pause >= self.left or (self._upstreams.away and not self._hopeful):
            raise error
        await self._sleep(pause)
