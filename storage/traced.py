"""An object store whose requests are steps of the RPCs that they are made for.

A step is an operation of `storage.port`: with its retries, and with all pages of a listing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from holdfast.origins import step
from holdfast.storage.port import (
    Body,
    Condition,
    Entry,
    Fetched,
    ObjectStore,
    Part,
    PendingUpload,
    Upload,
    Written,
)

BUCKET: Final = "S3"
FOLDER: Final = "folder"


class TracedStore:
    """An `ObjectStore` whose operations are steps."""

    def __init__(self, inner: ObjectStore, system: str) -> None:
        """Makes no requests yet.

        Args:
            inner: the store.
            system: what it is: `BUCKET` or `FOLDER`. Operations have S3's names in both.
        """
        self._inner = inner
        self._system = system
        # What makes no request for an RPC is the inner store's own.
        self.request_counts = inner.request_counts
        self.throttled = inner.throttled
        self.composite_etag = inner.composite_etag
        self.refuses_changed = inner.refuses_changed
        self.now = inner.now
        self.check_access = inner.check_access
        self.close = inner.close

    @property
    def up(self) -> bool:
        """See `ObjectStore`."""
        return self._inner.up

    @property
    def switches(self) -> bool:
        """See `ObjectStore`."""
        return self._inner.switches

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """See `ObjectStore`."""
        with step(self._system, "PutObject", key):
            return self._inner.put(key, body, condition)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """See `ObjectStore`."""
        with step(self._system, "GetObject", key):
            return self._inner.get(key, offset, length)

    def head(self, key: str) -> Entry:
        """See `ObjectStore`."""
        with step(self._system, "HeadObject", key):
            return self._inner.head(key)

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        with step(self._system, "DeleteObject", key):
            self._inner.delete(key)

    def delete_if(self, key: str, etag: str) -> None:
        """See `ObjectStore`."""
        with step(self._system, "DeleteObject", key):
            self._inner.delete_if(key, etag)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`."""
        with step(self._system, "ListObjectsV2", prefix):
            yield from self._inner.list(prefix, start_after)

    def create_upload(self, key: str) -> Upload:
        """See `ObjectStore`."""
        with step(self._system, "CreateMultipartUpload", key):
            return self._inner.create_upload(key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """See `ObjectStore`."""
        with step(self._system, "UploadPart", key):
            return self._inner.put_part(key, upload_id, number, body, sums)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`."""
        with step(self._system, "ListParts", key):
            return self._inner.list_parts(key, upload_id)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """See `ObjectStore`."""
        with step(self._system, "CompleteMultipartUpload", key):
            return self._inner.complete_upload(key, upload_id, parts)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`."""
        with step(self._system, "AbortMultipartUpload", key):
            self._inner.abort_upload(key, upload_id)

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore`."""
        with step(self._system, "ListMultipartUploads", prefix):
            yield from self._inner.list_uploads(prefix)
