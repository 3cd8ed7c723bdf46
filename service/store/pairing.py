"""The store's document about its Redis, read and written by quick calls."""

from __future__ import annotations

from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.pairing import Kept, Paired, look, pair
from holdfast.storage.port import ObjectStore


class AsyncPaired:
    """Which Redis a store is used with, as the store says."""

    def __init__(self, store: ObjectStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers
        self.now = store.now

    def look(self) -> Reply[Kept]:
        """Reads the document.

        Raises:
            DataLoss: the object itself is torn.
            UnsupportedFormat: it has a newer format version.
        """
        return self._workers.quick(look, self._store)

    def pair(self, now: Paired, nonce: str, before: Kept) -> Reply[bool]:
        """Replaces the document that was read; False if it has changed."""
        return self._workers.quick(pair, self._store, now, nonce, before)
