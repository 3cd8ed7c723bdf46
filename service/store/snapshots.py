"""Snapshots of what tenants hold, written in threads."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.holds import StoredHold
from holdfast.storage.snapshots import Snapshots, SnapshotWriter


class AsyncWriting:
    """A snapshot that is being written; it is used only once it is finished."""

    def __init__(self, writing: SnapshotWriter, workers: Workers) -> None:
        self._writing = writing
        self._workers = workers

    def add(self, found: Iterable[StoredHold]) -> Reply[None]:
        """Adds the next holds, in the order of their keys."""
        return self._workers.bulk(self._writing.add, found)

    def finish(self) -> Reply[None]:
        """Completes the snapshot, and removes all earlier ones."""
        return self._workers.bulk(self._writing.finish)

    def give_up(self) -> Reply[None]:
        """Removes what was written."""
        return self._workers.bulk(self._writing.give_up)


class AsyncSnapshots:
    """The snapshots in one store."""

    def __init__(self, snapshots: Snapshots, workers: Workers) -> None:
        self._snapshots = snapshots
        self._workers = workers

    async def begin(self, tenant: str) -> AsyncWriting:
        """Begins a snapshot that will be the newest."""
        writing = await self._workers.store(self._snapshots.begin, tenant)
        return AsyncWriting(writing, self._workers)
