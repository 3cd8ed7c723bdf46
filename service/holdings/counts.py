"""Counts what bounded tenants hold: what the store lists decides for what they are charged.

A count mends what crashes, lost replies and a lost Redis have left. It costs a listing, and one
request for each digest for which its tenant isn't charged yet.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holdfast.coordination.ledger import Ledger
from holdfast.errors import HoldfastError, because
from holdfast.service.process.background import Background
from holdfast.service.store.hold_sizes import HoldSizes

log = structlog.get_logger(__name__)

ABREAST: Final = 2
"""Tenants that one frontend counts at once."""
WAITING: Final = 1000
"""Tenants that wait for that; further ones are counted when they gain something again."""


class HoldCounts:
    """The counts that one frontend makes, in the background."""

    def __init__(self, ledger: Ledger, sizes: HoldSizes, background: Background) -> None:
        """Counts nothing yet.

        Args:
            ledger: what tenants are charged for.
            sizes: what tenants hold.
            background: runs the counts.
        """
        self._ledger = ledger
        self._sizes = sizes
        self._background = background
        self._gate = asyncio.Semaphore(ABREAST)
        self._due: set[str] = set()

    def begin(self, tenant: str) -> None:
        """Begins to count a tenant's holds, unless this frontend or another one is doing so."""
        if tenant in self._due or len(self._due) >= WAITING:
            return
        self._due.add(tenant)
        counting = self._background.start(self._guarded(tenant))
        counting.add_done_callback(lambda _: self._due.discard(tenant))

    async def _guarded(self, tenant: str) -> None:
        async with self._gate:
            try:
                await self.count(tenant)
            except HoldfastError as error:
                log.warning("tenant's holds not counted", tenant=tenant, reason=because(error))

    async def count(self, tenant: str) -> bool:
        """Counts a tenant's holds; returns False if another frontend is doing so.

        Raises:
            Unavailable: Redis or the store can't be reached; what was found counts, and nothing
                is missing from it.
        """
        began = await self._ledger.begin(tenant)
        if began is None:
            return False
        async for batch in self._sizes.listed(tenant):
            unknown = [*await self._ledger.listed(tenant, dict.fromkeys(batch))]
            if unknown:
                sizes = await self._sizes.read([batch[digest] for digest in unknown])
                known = {
                    digest: size
                    for digest, size in zip(unknown, sizes, strict=True)
                    if size is not None
                }
                await self._ledger.listed(tenant, known)
        await self._ledger.sweep(tenant, began)
        return True
