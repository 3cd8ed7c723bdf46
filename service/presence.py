"""Who is asking is made known in the store before anything is promised to them.

An expiry of tenants looks, after it has marked a hold, whether its tenant was seen
meanwhile; a frontend notes that the tenant is there, and then looks for holds without
marks. So one of the two notices the other. That a note stands is believed for a while,
which is much shorter than an expiry waits between its two looks.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from holdfast.errors import Unavailable
from service.workers import Background

log = structlog.get_logger(__name__)

RENEWED: Final = 3600.0
"""Seconds after which a note is renewed, beside what the tenant asks for."""
BELIEVED: Final = 2 * 3600.0
"""Seconds after which nothing is promised until it is renewed: an hour of trouble with
the store goes unnoticed."""
LONGEST_ANSWER: Final = 3600.0
"""Seconds more, in which what was asked for must have been answered."""
REMEMBERED: Final = 20_000
"""Tenants whose notes are remembered: some 5 MB."""

Moment = tuple[float, ...]


def moment() -> Moment:
    """Now, by clocks of which at least one goes on while a machine is suspended."""
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(boot), time.time()


class Presence:
    """The tenants that ask this process for something."""

    def __init__(
        self,
        touch: Callable[[str], Awaitable[None]],
        background: Background,
        clock: Callable[[], Moment] = moment,
    ) -> None:
        """Nobody has been seen yet.

        Args:
            touch: notes in the store that a tenant is there.
            background: for what nobody waits for.
            clock: times of which differences count, in s; the greatest one does.
        """
        self._touch = touch
        self._background = background
        self._clock = clock
        self._noted: OrderedDict[str, Moment] = OrderedDict()
        self._renewing: dict[str, asyncio.Task[None]] = {}

    async def note(self, tenant: str) -> None:
        """Returns when the store knows that a tenant is there: at once, but rarely.

        Raises:
            Unavailable: the store can't be reached, and hasn't been for long.
        """
        age = self._age(tenant)
        if age >= RENEWED:
            renewal = self._renew(tenant)
            if age >= BELIEVED:
                await asyncio.shield(renewal)

    def mention(self, tenant: str) -> None:
        """As `note`, where nothing is promised: nobody waits."""
        if self._age(tenant) >= RENEWED:
            self._renew(tenant)

    @asynccontextmanager
    async def promising(self, tenant: str) -> AsyncIterator[None]:
        """Surrounds what looks for a tenant's holds, makes one, and tells of it.

        Raises:
            Unavailable: as `note`; or it took so long that it mustn't be told: this
                process, or its machine, was stopped for hours.
        """
        await self.note(tenant)
        try:
            yield
        finally:
            if self._age(tenant) >= BELIEVED + LONGEST_ANSWER:
                raise Unavailable("this took hours (was the machine suspended?); ask again")

    def _age(self, tenant: str) -> float:
        noted = self._noted.get(tenant)
        if noted is None:
            return float("inf")
        return max(now - then for now, then in zip(self._clock(), noted, strict=True))

    def _renew(self, tenant: str) -> asyncio.Task[None]:
        renewal = self._renewing.get(tenant)
        if renewal is None:
            renewal = self._background.carry(self._put(tenant))
            self._renewing[tenant] = renewal
            renewal.add_done_callback(lambda ended: self._end(tenant, ended))
        return renewal

    def _end(self, tenant: str, renewal: asyncio.Task[None]) -> None:
        del self._renewing[tenant]
        if not renewal.cancelled() and (error := renewal.exception()):
            log.warning("a sighting isn't noted", tenant=tenant, reason=str(error))

    async def _put(self, tenant: str) -> None:
        began = self._clock()
        await self._touch(tenant)
        self._noted[tenant] = began
        self._noted.move_to_end(tenant)
        while len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
