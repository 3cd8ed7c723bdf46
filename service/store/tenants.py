"""Which tenants there are, asked in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.port import ObjectStore
from holdfast.storage.sightings import Sightings
from holdfast.storage.tenants import holding_tenants


class AsyncTenants:
    """The tenants in one store: which have holds, and when they were seen."""

    def __init__(self, store: ObjectStore, sightings: Sightings, workers: Workers) -> None:
        self._store = store
        self._sightings = sightings
        self._workers = workers

    def touch(self, tenant: str) -> Reply[None]:
        """Notes that a tenant was seen; confirmed when this returns."""
        return self._workers.quick(self._sightings.touch, tenant)

    def missed(self, tenant: str) -> Reply[bool]:
        """Returns whether a tenant is marked as missing and hasn't been seen since.

        Raises:
            DataLoss: it can't be determined.
            UnsupportedFormat: written by a newer version.
        """
        return self._workers.quick(self._sightings.missed, tenant)

    async def holding(self) -> AsyncIterator[str]:
        """Yields the tenants that have a hold, in order of `<name>/`: one listing for each."""
        tenants = holding_tenants(self._store)
        while (tenant := await self._workers.store(next, tenants, None)) is not None:
            yield tenant
