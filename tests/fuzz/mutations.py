"""Changes of bytes that were valid once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

CHANGES: Final = 6
"""Changes of one value at most."""
LARGEST: Final = 64 * 2**10
"""Bytes to which a value grows at most."""
NUMBERS: Final = (
    b"0", b"-1", b"1e999", b"NaN", b"0x10", b"9223372036854775807", b"9223372036854775808",
    b"18446744073709551616", b"1" * 5000,
)  # fmt: skip
STRANGE: Final = (
    b"\0", b"\r\n", b"\n", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\\ud800",
    b'"', b"'", b"\\", b"/", b"..", b"%", b"%00", b"{", b"[", b"]" , b"}", b"<", b">", b"&", b":",
    b",", b"=", b"|", b" ", b"null", b"true", b"\xd9\xa1",
)  # fmt: skip
Change = Callable[[bytearray], None]


class Mutations:
    """Makes values that are nearly like those of a corpus."""

    def __init__(
        self, chance: random.Random, corpus: Sequence[bytes], words: Sequence[bytes] = ()
    ) -> None:
        """Has made none yet.

        Args:
            chance: decides.
            corpus: real values.
            words: what means something to the parser.
        """
        self._chance = chance
        self._corpus = corpus
        self._words = (*words, *STRANGE, *NUMBERS)
        self._changes: tuple[Change, ...] = (
            self._flip,
            self._set,
            self._drop,
            self._put_word,
            self._replace_by_word,
            self._repeat,
            self._splice,
            self._cut,
            self._swap,
        )

    def value(self) -> bytes:
        """One more value; one in twenty is of the corpus itself."""
        data = bytearray(self._chance.choice(self._corpus))
        if self._chance.random() < 0.05:
            return bytes(data)
        for _ in range(self._chance.randint(1, CHANGES)):
            self._chance.choice(self._changes)(data)
        return bytes(data[:LARGEST])

    def _place(self, data: bytearray) -> int:
        return self._chance.randint(0, len(data))

    def _range(self, data: bytearray) -> slice:
        start = self._place(data)
        return slice(start, start + self._chance.choice((1, 1, 2, 4, 8, 64, 1024)))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] = self._chance.randrange(256)

    def _drop(self, data: bytearray) -> None:
        del data[self._range(data)]

    def _put_word(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._chance.choice(self._words)

    def _replace_by_word(self, data: bytearray) -> None:
        data[self._range(data)] = self._chance.choice(self._words)

    def _repeat(self, data: bytearray) -> None:
        """Repeats a few bytes once, or so often that what isn't linear shows."""
        part = bytes(data[self._range(data)]) or self._chance.choice(self._words)
        times = self._chance.choice((1, 2, 10, LARGEST // len(part)))
        place = self._place(data)
        data[place:place] = (part * times)[: max(0, LARGEST - len(data))]

    def _splice(self, data: bytearray) -> None:
        other = bytearray(self._chance.choice(self._corpus))
        data[self._range(data)] = other[self._range(other)]

    def _cut(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _swap(self, data: bytearray) -> None:
        one, two = self._range(data), self._range(data)
        data[one], data[two] = bytes(data[two]), bytes(data[one])
