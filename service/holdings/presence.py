"""Who is asking is made known in the store before anything is promised to them.

An expiry of tenants looks, after it has marked a hold, whether its tenant was seen
meanwhile; a frontend notes that the tenant is there, and then looks for holds without
marks. So one of the two notices the other. That a note stands is believed for a while,
which is much shorter than an expiry waits between its two looks.

A store that takes no writes takes no notes, and what it has must be found all the same.
Then it is enough that the tenant isn't missed: whoever drops it has yet to miss it, and to
wait for as long as after a note.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

import structlog

from holdfast.clocks import uptime
from holdfast.deadlines import unbounded
from holdfast.errors import HoldfastError, Unavailable, because
from holdfast.service.process.background import Background
from holdfast.tasks import failure, wait_for_end

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
ABREAST: Final = 64
"""Notes under way, beyond which none is begun that nobody waits for: however many names
are asked for, no queue grows."""
PAUSE: Final = 10.0
"""Seconds after a failure in which only those who can't do without try again."""
ROUND: Final = 600.0
"""Seconds between two looks at those who are there without asking."""

Moment = tuple[float, ...]


def moment() -> Moment:
    """Now, by clocks of which at least one goes on while a machine is suspended, or paused."""
    return uptime(), time.time()


class Presence:
    """The tenants that ask this process for something."""

    def __init__(
        self,
        touch: Callable[[str], Awaitable[None]],
        missed: Callable[[str], Awaitable[bool]],
        background: Background,
        clock: Callable[[], Moment] = moment,
    ) -> None:
        """Nobody has been seen yet.

        Args:
            touch: notes in the store that a tenant is there.
            missed: whether the store says that a tenant is missing; asked where that fails.
            background: for what nobody waits for.
            clock: times of which differences count, in s; the greatest one does.
        """
        self._touch = touch
        self._missed = missed
        self._background = background
        self._clock = clock
        self._noted: OrderedDict[str, Moment] = OrderedDict()
        self._renewing: dict[str, asyncio.Task[Moment]] = {}
        self._failed: Moment | None = None

    async def note(self, tenant: str) -> Moment:
        """Returns when the store knows that a tenant is there: at once, but rarely.

        Returns:
            When it was noted; what is told on the strength of it is checked by `in_time`.

        Raises:
            Unavailable: the store can't be reached, and hasn't been for long.
            ResourceExhausted: it is full, and the tenant is missed.
            PermissionDenied: it may not be written to, and the tenant is missed.
        """
        if self._age(tenant) >= BELIEVED:
            return await wait_for_end(self._renew(tenant))
        noted = self._noted[tenant]
        self.mention(tenant)
        return noted

    def mention(self, tenant: str) -> None:
        """As `note`, where nothing is promised: nobody waits."""
        if self._age(tenant) < RENEWED or len(self._renewing) >= ABREAST:
            return
        if self._failed is None or self._since(self._failed) >= PAUSE:
            self._renew(tenant)

    async def attend(self, tenants: Collection[str]) -> None:
        """Mentions tenants for as long as this runs: idle for weeks, they aren't gone."""
        while True:
            for tenant in tenants:
                self.mention(tenant)
            await asyncio.sleep(ROUND)

    @asynccontextmanager
    async def promising(self, tenant: str) -> AsyncIterator[None]:
        """Surrounds what looks for a tenant's holds, makes one, and tells of it.

        Raises:
            Unavailable: as `note`; or it took so long that it mustn't be told: this
                process, or its machine, was stopped for hours.
        """
        noted = await self.note(tenant)
        try:
            yield
        finally:
            self.in_time(noted)

    def in_time(self, noted: Moment) -> None:
        """Whether what was looked up after a note may still be told.

        A newer note doesn't count: an expiry may have been through in between.

        Raises:
            Unavailable: that was hours ago.
        """
        if self._since(noted) >= BELIEVED + LONGEST_ANSWER:
            raise Unavailable("this took hours (was the machine suspended?); ask again")

    def _age(self, tenant: str) -> float:
        noted = self._noted.get(tenant)
        return float("inf") if noted is None else self._since(noted)

    def _since(self, then: Moment) -> float:
        return max(now - before for now, before in zip(self._clock(), then, strict=True))

    def _renew(self, tenant: str) -> asyncio.Task[Moment]:
        renewal = self._renewing.get(tenant)
        if renewal is None:
            with unbounded():  # others wait for it, too
                renewal = self._background.carry(self._put(tenant))
            self._renewing[tenant] = renewal
            renewal.add_done_callback(lambda ended: self._end(tenant, ended))
        return renewal

    def _end(self, tenant: str, renewal: asyncio.Task[Moment]) -> None:
        del self._renewing[tenant]
        if error := failure(renewal):
            self._failed = self._clock()
            log.warning("a sighting isn't noted", tenant=tenant, reason=because(error))

    async def _put(self, tenant: str) -> Moment:
        began = self._clock()
        try:
            await self._touch(tenant)
        except HoldfastError as error:
            if await self._missed(tenant):
                raise
            log.warning("a sighting isn't noted", tenant=tenant, reason=because(error))
        self._noted[tenant] = began
        self._noted.move_to_end(tenant)
        while len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
        return began
