"""An object store that counts its requests, and can fail on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from holdfast.storage.port import Fetched, ObjectStore
from tests.stores.wrapped import Result, Wrapped


def nothing(operation: str, key: str) -> None:
    """A hook that lets everything pass."""
    del operation, key


class CountingStore(Wrapped):
    """Passes every request on to a store, and records it.

    `before` and `after` are called with an operation's name and key. If they raise an error,
    the caller gets it instead of the request, or instead of its reply.
    """

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self.bytes: Counter[str] = Counter()
        self.before: Callable[[str, str], None] = nothing
        self.after: Callable[[str, str], None] = nothing

    def request(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        with self._lock:
            self.calls.append((operation, key))
        self.before(operation, key)
        result = call()
        if isinstance(result, Fetched):
            with self._lock:
                self.bytes[key] += len(result.body)
        self.after(operation, key)
        return result

    def fetched(self, prefix: str) -> int:
        """Bytes read from objects below a prefix."""
        return sum(size for key, size in self.bytes.items() if key.startswith(prefix))

    def operations(self, prefix: str = "") -> list[str]:
        """The operations on keys below a prefix, in order."""
        return [name for name, key in self.calls if key.startswith(prefix)]
