"""Since when nobody holds blobs, renewed by quick calls."""

from __future__ import annotations

from holdfast.digests import Digest
from holdfast.service.process.workers import Workers
from holdfast.service.store.port import Reply
from holdfast.storage.retained import Retained


class AsyncRetained:
    """The markers in one store by which collectors retain blobs."""

    def __init__(self, retained: Retained, workers: Workers) -> None:
        self._retained = retained
        self._workers = workers

    def renew(self, digest: Digest, size: int) -> Reply[None]:
        """Has a blob of `size` bytes retained from now on."""
        return self._workers.quick(self._retained.renew, digest, size)
