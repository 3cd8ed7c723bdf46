"""What a tenant holds, as the store lists it, and the sizes of what isn't known yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.process.workers import Workers
from holdfast.storage.holds import Holds
from holdfast.storage.keys import DELETING, hold_digest
from holdfast.storage.port import Entry, NoSuchKey

BATCH: Final = 500
"""Digests that are listed at once."""
ABREAST: Final = 8
"""Holds that are read at once."""


class HoldSizes:
    """The digests that tenants hold, and their bytes."""

    def __init__(self, holds: Holds, workers: Workers) -> None:
        """Asks the store for nothing yet.

        Args:
            holds: the holds of the store.
            workers: run blocking calls.
        """
        self._holds = holds
        self._workers = workers

    async def listed(self, tenant: str) -> AsyncIterator[dict[Digest, list[Entry]]]:
        """Yields the digests that a tenant holds, some at a time, and what is listed below each.

        A hold that is marked as being deleted counts: the Delete may break off.

        Raises:
            Unavailable: the store can't be reached.
        """
        groups = self._holds.groups(tenant)

        def some() -> list[list[Entry]]:
            return list(islice(groups, BATCH))

        while batch := await self._workers.store(some):
            yield {
                hold_digest(group[0].key): group
                for group in batch
                if any(not entry.key.endswith(DELETING) for entry in group)
            }

    async def read(self, groups: Iterable[list[Entry]]) -> list[int | None]:
        """Returns the bytes of digests, of each from what is listed below it; None: unreadable.

        Raises:
            Unavailable: the store can't be reached.
        """
        gate = asyncio.Semaphore(ABREAST)

        async def one(group: list[Entry]) -> int | None:
            async with gate:
                return await self._workers.store(self._read, group)

        return await asyncio.gather(*map(one, groups))

    def _read(self, group: list[Entry]) -> int | None:
        for found in self._holds.remembered(group) or ():
            return found.hold.size
        for entry in group:
            if not entry.key.endswith(DELETING):
                try:
                    return self._holds.read(entry.key).size
                except (NoSuchKey, DataLoss, UnsupportedFormat):
                    continue
        return None
