"""Notes in the store that a tenant is there, before the tenant is promised anything.

An expiry marks a tenant's hold, and then checks whether the tenant was seen meanwhile. A frontend
notes that the tenant is there, and then looks for holds without marks. So at least one of the two
notices the other. A frontend relies on its note for a while, which is much shorter than the time
that an expiry waits between its two looks.

A store that refuses writes refuses notes, too, and its content must still be served. Then it is
enough that the tenant isn't marked as missing: before an expiry can drop the tenant, it must mark
it as missing, and then wait for as long as after a note.
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
"""Seconds after which a note is renewed in the background, while the tenant's request continues."""
BELIEVED: Final = 2 * 3600.0
"""Seconds after which nothing is promised until the note is renewed. It is an hour more than
`RENEWED`, so that an hour of trouble with the store goes unnoticed."""
LONGEST_ANSWER: Final = 3600.0
"""Further seconds within which a request that relied on the note must have been answered."""
REMEMBERED: Final = 20_000
"""Tenants whose notes are remembered: some 5 MB."""
ABREAST: Final = 64
"""Most notes under way before no further one is begun in the background, so that no queue grows,
however many names clients use."""
PAUSE: Final = 10.0
"""Seconds after a failure during which notes are written only for requests that need them."""
ROUND: Final = 600.0
"""Seconds between two mentions of tenants that are there without asking for anything."""

Moment = tuple[float, float]
"""A time by two clocks, in s."""


def moment() -> Moment:
    """Returns the time by clocks of which at least one runs on while a machine is suspended."""
    return uptime(), time.time()


class Presence:
    """The tenants that send requests to this process."""

    def __init__(
        self,
        touch: Callable[[str], Awaitable[None]],
        missed: Callable[[str], Awaitable[bool]],
        background: Background,
        clock: Callable[[], Moment] = moment,
    ) -> None:
        """Begins with no tenant seen.

        Args:
            touch: notes in the store that a tenant is there.
            missed: returns whether the store says that a tenant is missing; asked if `touch`
                fails.
            background: runs notes that nobody waits for.
            clock: returns the time by two clocks, in s; of their differences, the greater counts.
        """
        self._touch = touch
        self._missed = missed
        self._background = background
        self._clock = clock
        self._noted: OrderedDict[str, Moment] = OrderedDict()
        self._renewing: dict[str, asyncio.Task[Moment]] = {}
        self._failed: Moment | None = None

    async def note(self, tenant: str) -> Moment:
        """Waits until the store knows that a tenant is there, which mostly takes no time.

        Returns:
            When the note was made. `in_time` checks, before the reply, that it still holds.

        Raises:
            Unavailable: the store can't be reached, and there is no recent note to rely on.
            ResourceExhausted: the store is full, and says that the tenant is missing.
            PermissionDenied: the store refuses writes, and says that the tenant is missing.
        """
        noted = self._noted.get(tenant)
        if noted is None or (age := self._since(noted)) >= BELIEVED:
            return await wait_for_end(self._renew(tenant))
        if age >= RENEWED:
            self.mention(tenant)
        return noted

    def mention(self, tenant: str) -> None:
        """Notes a tenant in the background, if that is due; for calls that promise nothing."""
        noted = self._noted.get(tenant)
        if noted is not None:
            up, wall = self._clock()
            if up - noted[0] < RENEWED and wall - noted[1] < RENEWED:
                return
        if len(self._renewing) >= ABREAST:
            return
        if self._failed is None or self._since(self._failed) >= PAUSE:
            self._renew(tenant)

    async def attend(self, tenants: Collection[str]) -> None:
        """Mentions tenants in a loop, because tenants that are idle for weeks aren't gone."""
        while True:
            for tenant in tenants:
                self.mention(tenant)
            await asyncio.sleep(ROUND)

    @asynccontextmanager
    async def promising(self, tenant: str) -> AsyncIterator[None]:
        """Surrounds a call that looks for a tenant's holds, or makes one, and reports it.

        Raises:
            Unavailable: as in `note`; or the call took so long that its result mustn't be
                reported, because this process, or its machine, was stopped for hours.
        """
        noted = await self.note(tenant)
        try:
            yield
        finally:
            self.in_time(noted)

    def in_time(self, noted: Moment) -> None:
        """Checks that a result which relies on a note may still be reported.

        A newer note doesn't help: an expiry may have dropped the tenant before it was made.

        Raises:
            Unavailable: the note was made hours ago.
        """
        if self._since(noted) >= BELIEVED + LONGEST_ANSWER:
            raise Unavailable(
                "the request took hours (perhaps this machine was suspended); try again"
            )

    def _since(self, then: Moment) -> float:
        up, wall = self._clock()
        return max(up - then[0], wall - then[1])

    def _renew(self, tenant: str) -> asyncio.Task[Moment]:
        renewal = self._renewing.get(tenant)
        if renewal is None:
            with unbounded():  # other requests may wait for it, too
                renewal = self._background.carry(self._put(tenant))
            self._renewing[tenant] = renewal
            renewal.add_done_callback(lambda ended: self._end(tenant, ended))
        return renewal

    def _end(self, tenant: str, renewal: asyncio.Task[Moment]) -> None:
        del self._renewing[tenant]
        if error := failure(renewal):
            self._failed = self._clock()
            log.warning("sighting not noted", tenant=tenant, reason=because(error))

    async def _put(self, tenant: str) -> Moment:
        began = self._clock()
        try:
            await self._touch(tenant)
        except HoldfastError as error:
            if await self._missed(tenant):
                raise
            log.warning("sighting not noted", tenant=tenant, reason=because(error))
        self._noted[tenant] = began
        self._noted.move_to_end(tenant)
        while len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)
        return began
