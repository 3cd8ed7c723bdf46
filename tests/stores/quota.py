"""A store with a quota, counted in bytes of objects and parts."""

from __future__ import annotations

import threading

from holdfast.errors import ResourceExhausted
from holdfast.storage.port import Body, Condition, ObjectStore, Part, Written, pieces
from tests.stores.wrapped import Wrapped


class QuotaStore(Wrapped):
    """Refuses every write, even an empty one, once its quota is used up, as MinIO does."""

    def __init__(self, inner: ObjectStore, quota: int) -> None:
        super().__init__(inner)
        self.quota = quota
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """The bytes of all objects and of all parts."""
        objects = sum(entry.size for entry in self.inner.list(""))
        uploads = self.inner.list_uploads("")
        parts = (part for up in uploads for part in self.inner.list_parts(up.key, up.id))
        return objects + sum(part.size for part in parts)

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        with self._lock:
            self._charge(key, len(body))
            return super().put(key, body, condition)

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        with self._lock:
            self._charge(key, sum(map(len, pieces(body))))
            return super().put_part(key, upload_id, number, body, sums)

    def fill(self) -> None:
        """Uses up all the room."""
        self.quota = self.used

    def _charge(self, key: str, size: int) -> None:
        if self.used + size >= self.quota:
            raise ResourceExhausted(f"writing {key}: the bucket is at its quota")
