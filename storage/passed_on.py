"""The calls of a store that only read, passed on as they are, for stores around another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.request_counts import RequestCounts
from holdfast.storage.port import Entry, Fetched, ObjectStore, Part, PendingUpload


class PassedOnReads:
    """The half of an `ObjectStore` that reads, of the store that it is around.

    Whoever is around a store says itself what becomes of each write: a write that is new in
    `ObjectStore` is passed on by nobody until they have.
    """

    def __init__(self, inner: ObjectStore) -> None:
        """Makes no requests yet; `inner` is the store."""
        self._inner = inner

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
