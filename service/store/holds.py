"""The holds of tenants: deleted by quick calls, listed in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.digests import Digest
from holdfast.service.process.workers import Workers
from holdfast.service.store.hold_reading import LIST_BATCH, HoldReading
from holdfast.service.store.port import Reply
from holdfast.storage.holds import Holds
from holdfast.storage.snapshots import Snapshots


class AsyncHolds:
    """The holds of one store."""

    def __init__(self, holds: Holds, workers: Workers, snapshots: Snapshots | None = None) -> None:
        """Asks for nothing yet.

        Args:
            holds: the holds in the store.
            workers: run blocking calls.
            snapshots: of tenants' holds; None: readings fetch every hold that isn't in memory.
        """
        self._holds = holds
        self._workers = workers
        self._snapshots = snapshots

    def mark(
        self, tenant: str, digest: Digest, still_wanted: Callable[[], None] = lambda: None
    ) -> Reply[list[str]]:
        """Marks this tenant's holds on a digest as being deleted; returns their keys.

        `still_wanted` is called where that runs, before any is marked, and may raise to end that.
        """
        return self._workers.quick(self._holds.mark, tenant, digest, still_wanted)

    def unlink(self, keys: Sequence[str]) -> Reply[None]:
        """Deletes holds that are marked, and then their marks."""
        return self._workers.quick(self._holds.unlink, keys)

    def take_back(self, tenant: str, keys: Sequence[str]) -> Reply[None]:
        """Cancels a delete of marked holds: makes one new hold that replaces them."""
        return self._workers.quick(self._holds.take_back, tenant, keys)

    def gone(self, check: Callable[[], bool]) -> Reply[bool]:
        """Returns whether the tenant of some holds is gone, by a check that asks the store."""
        return self._workers.quick(check)

    def reading(
        self,
        tenant: str,
        ended: Callable[[HoldReading], None] = lambda _: None,
        *,
        abreast: int = LIST_BATCH,
    ) -> HoldReading:
        """Returns a reading of all that a tenant holds.

        Args:
            tenant: whose holds are read.
            ended: called when the reading ends.
            abreast: how many digests' holds are fetched concurrently.
        """
        return HoldReading(
            tenant, self._holds, self._workers, self._snapshots, ended, abreast=abreast
        )
