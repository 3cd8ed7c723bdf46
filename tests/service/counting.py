"""An object store that counts what is asked of it, and can fail on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from storage.port import Fetched, ObjectStore


def nothing(operation: str, key: str) -> None:
    """A hook that lets everything pass."""
    del operation, key


class CountingStore:
    """Hands every call on to a store, and keeps a record of it.

    `before` and `after` are called with an operation's name and key; what they
    raise reaches the caller instead of the request, or instead of its reply.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self.bytes: Counter[str] = Counter()
        self.before: Callable[[str, str], None] = nothing
        self.after: Callable[[str, str], None] = nothing

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        if not callable(operation) or name in {
            "now",
            "composite_etag",
            "throttled",
            "close",
            "check_access",
        }:
            return operation

        def call(key: str, *args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.calls.append((name, key))
            self.before(name, key)
            result = operation(key, *args, **kwargs)
            if isinstance(result, Fetched):
                with self._lock:
                    self.bytes[key] += len(result.body)
            self.after(name, key)
            return result

        return call

    def fetched(self, prefix: str) -> int:
        """Bytes read from objects below a prefix."""
        return sum(size for key, size in self.bytes.items() if key.startswith(prefix))

    def operations(self, prefix: str = "") -> list[str]:
        """The operations on keys below a prefix, in order."""
        return [name for name, key in self.calls if key.startswith(prefix)]
