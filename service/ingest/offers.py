"""Large digests that the store has although a client begins to write them: it is told to ask Info.

    Info without an answer ─▶ STAT; no flight, or it may join ─▶ looked for ─ absent ─▶ written
                                                                   └─ there ─▶ told to ask Info

containerd takes every failure of an Info for a no. If frontends have too much to do, Infos fail,
and the flight of the tenant that has committed the blob has lapsed before the STAT comes. So the
store is looked at after the flights were asked, in this order: what is committed after the look was
in flight when they were asked. The look is omitted if another one has found nothing, and began so
short a time ago that a flight which was under way then can't have lapsed yet.

It is advice, too: a tenant is told so for a while, and then it writes. Otherwise a client that
doesn't ask Info, or whose Info never succeeds, would wait for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from holdfast.digests import Digest
from holdfast.errors import HoldfastError, ResourceExhausted, Unavailable, because

log = structlog.get_logger(__name__)

REMEMBERED: Final = 16_384
"""Most tenants and digests that are remembered: some 4 MiB."""
BEGUN_ANEW: Final = 10
"""After so many times the wait, a tenant that begins to write a digest is told again."""


class Offers:
    """Says which tenants should ask Info instead of writing."""

    def __init__(
        self,
        *,
        absent: Callable[[Digest, float], bool],
        offers: Callable[[str, Digest], Awaitable[bool]],
        fresh: float,
        wait: float,
        clock: Callable[[], float],
    ) -> None:
        """Has told nobody yet.

        Args:
            absent: says whether a look that began within so many seconds has found nothing.
            offers: looks whether a tenant's Info would find a digest.
            fresh: seconds for which such a look counts.
            wait: seconds for which a tenant is told to ask Info.
            clock: monotonic, in s.
        """
        self._absent = absent
        self._offers = offers
        self._fresh = fresh
        self._wait = wait
        self._clock = clock
        self._told: OrderedDict[tuple[str, Digest], float] = OrderedDict()

    async def left(self, tenant: str, digest: Digest) -> float:
        """Returns for how many seconds a tenant should ask Info for a digest; 0: it may write.

        Raises:
            ResourceExhausted: the store has the digest, and the tenant may hold no more.
            Unavailable: the store can't be asked, and so can't be written to either.
        """
        key, now = (tenant, digest), self._clock()
        since = self._told.get(key, now)
        if now - since >= BEGUN_ANEW * self._wait:
            since = now
        left = since + self._wait - now
        if left <= 0 or self._absent(digest, self._fresh) or not await self._there(tenant, digest):
            return 0.0
        self._told[key] = since
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return left

    def found(self, tenant: str, digest: Digest) -> None:
        """Notes that a tenant's Info has found a digest."""
        self._told.pop((tenant, digest), None)

    async def _there(self, tenant: str, digest: Digest) -> bool:
        try:
            return await self._offers(tenant, digest)
        except (ResourceExhausted, Unavailable):
            raise
        except HoldfastError as error:
            log.debug("digest not looked for", reason=because(error))
            return False
