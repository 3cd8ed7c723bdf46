"""Object stores that record, lose replies, or break their promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from holdfast.errors import OutcomeUnknown
from storage.port import (
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


class Wrapped:
    """An `ObjectStore` that passes everything on; subclasses change some of it."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        return self.inner.put(key, body, condition)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        return self.inner.get(key, offset, length)

    def head(self, key: str) -> Entry:
        return self.inner.head(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def delete_if(self, key: str, etag: str) -> None:
        self.inner.delete_if(key, etag)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        return self.inner.list(prefix, start_after)

    def create_upload(self, key: str) -> Upload:
        return self.inner.create_upload(key)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        return self.inner.put_part(key, upload_id, number, body, sums)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        return self.inner.list_parts(key, upload_id)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        return self.inner.complete_upload(key, upload_id, parts)

    def abort_upload(self, key: str, upload_id: str) -> None:
        self.inner.abort_upload(key, upload_id)

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        return self.inner.list_uploads(prefix)

    def refuses_changed(self, key: str) -> bool | None:
        return self.inner.refuses_changed(key)

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


class Recording(Wrapped):
    """Keeps what it was asked to do, in order: the operation and its key or prefix."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.requests: list[tuple[str, str]] = []

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        self.requests.append(("put", key))
        return super().put(key, body, condition)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        self.requests.append(("get", key))
        return super().get(key, offset, length)

    def head(self, key: str) -> Entry:
        self.requests.append(("head", key))
        return super().head(key)

    def delete(self, key: str) -> None:
        self.requests.append(("delete", key))
        super().delete(key)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        self.requests.append(("list", prefix))
        return super().list(prefix, start_after)


class Interrupted(Wrapped):
    """Runs a function before a conditional put of some key, once: another one's write."""

    def __init__(self, inner: ObjectStore, prefix: str, before: Callable[[], object]) -> None:
        super().__init__(inner)
        self._prefix = prefix
        self._before: Callable[[], object] | None = before

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if condition is not None and key.startswith(self._prefix) and self._before:
            before, self._before = self._before, None
            before()
        return super().put(key, body, condition)


class LosingReplies(Wrapped):
    """Loses the replies to the first conditional puts, before or after they take effect."""

    def __init__(self, inner: ObjectStore, *, takes_effect: bool, times: int = 1) -> None:
        super().__init__(inner)
        self._takes_effect = takes_effect
        self.left = times

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if condition is None or self.left == 0:
            return super().put(key, body, condition)
        self.left -= 1
        if self._takes_effect:
            super().put(key, body, condition)
        raise OutcomeUnknown("the reply was lost")


class FlippedReplies(Wrapped):
    """Flips a bit in the body of the first GET replies below a prefix, not in the store."""

    def __init__(self, inner: ObjectStore, prefix: str, bit: int = 100, times: int = 1) -> None:
        super().__init__(inner)
        self._prefix, self._bit = prefix, bit
        self.left = times

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        fetched = super().get(key, offset, length)
        if self.left == 0 or not key.startswith(self._prefix):
            return fetched
        self.left -= 1
        return replace(fetched, body=flipped(fetched.body, self._bit % (8 * len(fetched.body))))


def flipped(body: bytes, bit: int) -> bytes:
    """A body with one bit flipped, counted from the first byte's highest."""
    changed = bytearray(body)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)
