"""A store that does something of the test's before or after a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from storage.port import Fetched, ObjectStore


class Tampering:
    """A store that does something of the test's before or after a request."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.alter: Callable[[str, Fetched], Fetched] = lambda _, fetched: fetched
        self.before_head: Callable[[str], None] = lambda _: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        return self.alter(key, self._store.get(key, offset, length))

    def head(self, key: str) -> Any:
        self.before_head(key)
        return self._store.head(key)


Alter = Callable[[str, Fetched], Fetched]


def flipped(fetched: Fetched) -> Fetched:
    """A reply with a bit that has flipped."""
    return replace(fetched, body=bytes([fetched.body[0] ^ 1]) + fetched.body[1:])


def cut(fetched: Fetched) -> Fetched:
    """A reply that lacks its last byte."""
    return replace(fetched, body=fetched.body[:-1])


def once(prefix: str, fault: Callable[[Fetched], Fetched] = flipped, times: int = 1) -> Alter:
    """Spoils the first replies below a prefix."""
    left = [None] * times

    def alter(key: str, fetched: Fetched) -> Fetched:
        if key.startswith(prefix) and left:
            left.pop()
            return fault(fetched)
        return fetched

    return alter
