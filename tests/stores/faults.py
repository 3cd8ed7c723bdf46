"""Object stores that record, lose replies, or break their promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from holdfast.errors import OutcomeUnknown
from holdfast.storage.port import Condition, Fetched, ObjectStore, Written
from tests.stores.wrapped import Wrapped


class Interrupted(Wrapped):
    """Runs a function once before a conditional put of some key: a concurrent write."""

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
    """Flips a bit in the body of the first GET replies below a prefix, but not in the store."""

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
    """A body with one bit flipped, counted from the highest bit of the first byte."""
    changed = bytearray(body)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)
