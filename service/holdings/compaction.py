"""Compacts holds in the background, when a request has met many of one tenant on one digest."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holdfast.coordination.hold_cache import Announcement, HoldCache
from holdfast.digests import Digest
from holdfast.service.process.background import Background
from holdfast.service.store.compaction import AsyncCompactions
from holdfast.storage.port import ConditionFailed, NoSuchKey

log = structlog.get_logger(__name__)

AT_ONCE: Final = 16
"""Most compactions under way; a further one begins when its holds are met again."""
ATTEMPTS: Final = 10
"""How often to check whether a concurrent change of the same holds has ended."""
PAUSE: Final = 0.2
"""Seconds between two such checks."""


class Compactions:
    """The compactions of one frontend."""

    def __init__(
        self,
        compactions: AsyncCompactions,
        cache: HoldCache,
        background: Background,
    ) -> None:
        """Compacts nothing yet; create it in the event loop that the compactions run in."""
        self._compactions = compactions
        self._cache = cache
        self._background = background
        self._loop = asyncio.get_running_loop()
        self._under_way: set[tuple[str, Digest]] = set()

    def crowded(self, tenant: str, digest: Digest) -> None:
        """Begins to compact a tenant's holds on a digest; called in any thread."""
        self._loop.call_soon_threadsafe(self._begin, tenant, digest)

    def _begin(self, tenant: str, digest: Digest) -> None:
        if (tenant, digest) not in self._under_way and len(self._under_way) < AT_ONCE:
            self._under_way.add((tenant, digest))
            self._background.start(self._in_the_background(tenant, digest))

    async def _in_the_background(self, tenant: str, digest: Digest) -> None:
        try:
            await self.compact(tenant, digest)
        finally:
            self._under_way.discard((tenant, digest))

    async def compact(self, tenant: str, digest: Digest) -> bool:
        """Compacts a tenant's holds on a digest; False if they are few, or are being changed.

        An Update that began before the marks may still overwrite a marked hold, so nothing is
        deleted while an Update is announced. An Update that begins later sees only the hold that
        stays.

        Raises:
            Unavailable, OutcomeUnknown: the store or Redis fails; a collector resolves the marks.
        """
        steps = self._compactions.of(tenant, digest)
        async with self._cache.changing(tenant, digest, delete=False) as announced:
            try:
                if not await announced.alone() or not await steps.mark():
                    return False
                if not await _alone(announced):
                    log.info("holds not compacted; others are changing them", tenant=tenant)
                    return False
                await steps.unlink()
            except (ConditionFailed, NoSuchKey):
                return False  # another process was faster
        return True


async def _alone(announced: Announcement) -> bool:
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE)
        if await announced.alone():
            return True
    return False
