"""What the fleet held when a collection looked, read by quick calls."""

from __future__ import annotations

from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.held import FleetHeld
from holdfast.storage.port import ObjectStore


class AsyncFleetHeld:
    """What one store says of all its tenants together."""

    def __init__(self, store: ObjectStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers

    def read(self) -> Reply[FleetHeld | None]:
        """Reads what the last collection has written; None if there was none.

        Raises:
            DataLoss: the document is damaged.
            UnsupportedFormat: it has a newer format version.
        """
        return self._workers.quick(FleetHeld.read, self._store)
