"""The steps that compact a tenant's holds on a digest, each in a thread."""

from __future__ import annotations

from holdfast.digests import Digest
from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.compaction import Compaction
from holdfast.storage.holds import Holds
from holdfast.storage.keys import NewName, uuid7
from holdfast.storage.port import ObjectStore


class CompactionSteps:
    """The steps of one compaction, in their order."""

    def __init__(self, compaction: Compaction, workers: Workers) -> None:
        self._compaction = compaction
        self._workers = workers

    def mark(self) -> Reply[bool]:
        """Marks all holds but the newest; False if there are few."""
        return self._workers.store(self._compaction.mark)

    def unlink(self) -> Reply[None]:
        """Deletes the marked holds, once none of their labels can change any more.

        Raises:
            ConditionFailed, NoSuchKey: the newest is being changed or deleted.
        """
        return self._workers.store(self._compaction.unlink)


class AsyncCompactions:
    """Compactions in one store. They read every hold anew, and remember none."""

    def __init__(self, store: ObjectStore, workers: Workers, new_nonce: NewName) -> None:
        self._store = store
        self._workers = workers
        self._new_nonce = new_nonce
        self._holds = Holds(store, uuid7, new_nonce)

    def of(self, tenant: str, digest: Digest) -> CompactionSteps:
        """Returns the steps for a tenant's holds on a digest."""
        compaction = Compaction(self._store, self._holds, self._new_nonce, tenant, digest)
        return CompactionSteps(compaction, self._workers)
