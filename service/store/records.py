"""The records of digests, read and marked by quick calls."""

from __future__ import annotations

from holdfast.digests import Digest
from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.keys import NewName
from holdfast.storage.quarantine import Mark, mark_damaged
from holdfast.storage.records import Record, Records, Seen


class AsyncRecords:
    """The records of one store."""

    def __init__(self, records: Records, workers: Workers, new_nonce: NewName) -> None:
        self._records = records
        self._workers = workers
        self._new_nonce = new_nonce

    def read(self, digest: Digest) -> Reply[Seen | None]:
        """Reads a record; None if there is none.

        Raises:
            UnsupportedFormat: it has a newer format version.
        """
        return self._workers.quick(self._records.read, digest)

    def mark_damaged(self, record: Record) -> Reply[Mark]:
        """Marks the record of a digest as corrupt if it still names the bytes of `record`.

        Raises:
            Unavailable: the outcome stayed unknown.
        """
        return self._workers.quick(mark_damaged, self._records, record, self._new_nonce)
