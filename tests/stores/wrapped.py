"""An object store around another one; a subclass changes what it needs, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

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

Result = TypeVar("Result")


class Wrapped(ObjectStore):
    """Passes every request on, each through `request`."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    def request(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        """Performs a request: an operation of the port, and its key or prefix."""
        del operation, key
        return call()

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        return self.request("put", key, lambda: self.inner.put(key, body, condition))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        return self.request("get", key, lambda: self.inner.get(key, offset, length))

    def head(self, key: str) -> Entry:
        return self.request("head", key, lambda: self.inner.head(key))

    def delete(self, key: str) -> None:
        self.request("delete", key, lambda: self.inner.delete(key))

    def delete_if(self, key: str, etag: str) -> None:
        self.request("delete_if", key, lambda: self.inner.delete_if(key, etag))

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        return self.request("list", prefix, lambda: self.inner.list(prefix, start_after))

    def create_upload(self, key: str) -> Upload:
        return self.request("create_upload", key, lambda: self.inner.create_upload(key))

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        return self.request(
            "put_part", key, lambda: self.inner.put_part(key, upload_id, number, body, sums)
        )

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        return self.request("list_parts", key, lambda: self.inner.list_parts(key, upload_id))

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        return self.request(
            "complete_upload", key, lambda: self.inner.complete_upload(key, upload_id, parts)
        )

    def abort_upload(self, key: str, upload_id: str) -> None:
        self.request("abort_upload", key, lambda: self.inner.abort_upload(key, upload_id))

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        return self.request("list_uploads", prefix, lambda: self.inner.list_uploads(prefix))

    def refuses_changed(self, key: str) -> bool | None:
        return self.request("refuses_changed", key, lambda: self.inner.refuses_changed(key))

    # -- without a request

    @property
    def switches(self) -> bool:
        return False  # a test's own code may block

    @property
    def request_counts(self) -> RequestCounts:
        return self.inner.request_counts

    @property
    def up(self) -> bool:
        return self.inner.up

    def throttled(self) -> int:
        return self.inner.throttled()

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        return self.inner.composite_etag(parts)

    def now(self) -> float:
        return self.inner.now()

    def check_access(self) -> None:
        self.inner.check_access()

    def close(self) -> None:
        self.inner.close()
