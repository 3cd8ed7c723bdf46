"""A store that runs a test's code before or after a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from holdfast.storage.port import Entry, Fetched, ObjectStore
from tests.stores.wrapped import Wrapped


class Tampering(Wrapped):
    """A store that runs a test's code before or after a request."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.alter: Callable[[str, Fetched], Fetched] = lambda _, fetched: fetched
        self.before_head: Callable[[str], None] = lambda _: None

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        return self.alter(key, self.inner.get(key, offset, length))

    def head(self, key: str) -> Entry:
        self.before_head(key)
        return self.inner.head(key)


Alter = Callable[[str, Fetched], Fetched]


def flipped(fetched: Fetched) -> Fetched:
    """A reply with one bit flipped."""
    return replace(fetched, body=bytes([fetched.body[0] ^ 1]) + fetched.body[1:])


def cut(fetched: Fetched) -> Fetched:
    """A reply without its last byte."""
    return replace(fetched, body=fetched.body[:-1])


def once(prefix: str, fault: Callable[[Fetched], Fetched] = flipped, times: int = 1) -> Alter:
    """Damages the first replies below a prefix."""
    left = [None] * times

    def alter(key: str, fetched: Fetched) -> Fetched:
        if key.startswith(prefix) and left:
            left.pop()
            return fault(fetched)
        return fetched

    return alter
