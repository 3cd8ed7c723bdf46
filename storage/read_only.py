"""A store that is only looked at: whoever explains what is there can't change it by mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Never

from holdfast.errors import PermissionDenied
from holdfast.request_counts import RequestCounts
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


class ReadOnlyStore:
    """An `ObjectStore` that passes on what reads, and refuses what writes."""

    def __init__(self, inner: ObjectStore) -> None:
        """Makes no requests yet; `inner` is the store."""
        self._inner = inner

    # -- refused

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """Refused."""
        del body, condition
        _refuse("put", key)

    def delete(self, key: str) -> None:
        """Refused."""
        _refuse("delete", key)

    def delete_if(self, key: str, etag: str) -> None:
        """Refused."""
        del etag
        _refuse("delete", key)

    def create_upload(self, key: str) -> Upload:
        """Refused."""
        _refuse("begin an upload of", key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """Refused."""
        del upload_id, number, body, sums
        _refuse("put a part of", key)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """Refused."""
        del upload_id, parts
        _refuse("complete", key)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Refused."""
        del upload_id
        _refuse("abort the upload of", key)

    def refuses_changed(self, key: str) -> bool | None:
        """Refused: it writes."""
        _refuse("try", key)

    # -- passed on

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """See `ObjectStore`."""
        return self._inner.get(key, offset, length)

    def head(self, key: str) -> Entry:
        """See `ObjectStore`."""
        return self._inner.head(key)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """See `ObjectStore`."""
        return self._inner.list(prefix, start_after)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`."""
        return self._inner.list_parts(key, upload_id)

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """See `ObjectStore`."""
        return self._inner.list_uploads(prefix)

    def throttled(self) -> int:
        """See `ObjectStore`."""
        return self._inner.throttled()

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """See `ObjectStore`."""
        return self._inner.composite_etag(parts)

    @property
    def request_counts(self) -> RequestCounts:
        """See `ObjectStore`."""
        return self._inner.request_counts

    @property
    def switches(self) -> bool:
        """See `ObjectStore`."""
        return self._inner.switches

    @property
    def up(self) -> bool:
        """See `ObjectStore`."""
        return self._inner.up

    def now(self) -> float:
        """See `ObjectStore`."""
        return self._inner.now()

    def check_access(self) -> None:
        """See `ObjectStore`."""
        self._inner.check_access()

    def close(self) -> None:
        """See `ObjectStore`."""
        self._inner.close()


def _refuse(what: str, key: str) -> Never:
    """Refuses a write.

    Raises:
        PermissionDenied: always.
    """
    raise PermissionDenied(f"this program only reads, and was about to {what} {key}")
