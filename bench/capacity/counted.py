"""A store in memory that counts what is asked of it, by operation and by the key's first part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from bench.capacity.formulas import PAGE
from holdfast.storage.port import Condition, Entry, Fetched, PendingUpload, Written
from tests.stores.memory import MemoryStore


class CountedStore(MemoryStore):
    """Counts requests as S3 would: a listing by its pages.

    Attributes:
        asked: how often, by `put blobs`, `list holds` and so on.
        received: bytes of objects that were read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.received = 0

    def start_over(self) -> None:
        """Counts from nought."""
        self.asked.clear()
        self.received = 0

    def _ask(self, operation: str, key: str) -> None:
        self.asked[f"{operation} {key.partition('/')[0]}"] += 1

    # -- what a subclass makes up

    def listed(self, prefix: str) -> Iterable[Entry]:
        """All entries below a prefix."""
        return super().list(prefix)

    def fetched(self, key: str, offset: int, length: int | None) -> Fetched:
        """An object, or a range of one."""
        return super().get(key, offset, length)

    # -- the port

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """As the port says."""
        self._ask("put", key)
        return super().put(key, body, condition)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says."""
        self._ask("get", key)
        found = self.fetched(key, offset, length)
        self.received += len(found.body)
        return found

    def head(self, key: str) -> Entry:
        """As the port says."""
        self._ask("head", key)
        return super().get(key).entry

    def delete(self, key: str) -> None:
        """As the port says."""
        self._ask("delete", key)
        super().delete(key)

    def delete_if(self, key: str, etag: str) -> None:
        """As the port says."""
        self._ask("delete", key)
        super().delete_if(key, etag)

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says, page by page."""
        self._ask("list", prefix)
        after = (entry for entry in self.listed(prefix) if entry.key > start_after)
        for number, entry in enumerate(after):
            if number and number % PAGE == 0:
                self._ask("list", prefix)
            yield entry

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """As the port says; S3 is asked a second time where there are none."""
        self._ask("uploads", prefix)
        self._ask("uploads", prefix)
        return iter([])
