"""What a parser promises of any bytes, and how it is held to it."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.fuzz.mutations import Mutations

LONGEST: Final = 2.0
"""Seconds of CPU time for a value of 64 KiB at most. Parsers take milliseconds for it; one whose
time grows with the square of the size, or faster, takes longer than this."""
MEMORY: Final = 24 * 2**20
"""Bytes that a parser may need for such a value, at its peak."""
WEIGHED: Final = 50
"""The memory for one value in so many is measured, because that is slow."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser.

    Attributes:
        name: of the parser.
        corpus: values that it reads.
        check: reads a value, and raises an error if the parser breaks a promise: it returns a value
            that is written and read as the same one, or raises one of the errors that it names.
        words: what means something to it.
        seal: makes the checksum of a changed value right, so that more than the sum is tried.
    """

    name: str
    corpus: tuple[bytes, ...]
    check: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()
    seal: Callable[[bytes], bytes] | None = None

    def value(self, seed: int, number: int) -> bytes:
        """The value of that number; the same for the same seed."""
        chance = random.Random(f"{self.name}/{seed}/{number}")  # noqa: S311 -- no secret
        value = Mutations(chance, self.corpus, self.words).value()
        return self.seal(value) if self.seal and chance.random() < 0.9 else value

    def attempt(self, seed: int, number: int) -> None:
        """Has the parser read the value of that number.

        Raises:
            AssertionError: it broke a promise.
        """
        value = self.value(seed, number)
        try:
            self.read(value, weighed=number % WEIGHED == 0)
        except AssertionError as finding:
            again = f"python -m tests.fuzz {self.name} --seed {seed} --only {number}"
            raise AssertionError(f"{finding}; again: {again}") from finding

    def read(self, value: bytes, *, weighed: bool) -> None:
        """Has the parser read a value, and measures its memory if it shall be weighed.

        Raises:
            AssertionError: it broke a promise.
        """
        shown = value if len(value) < 400 else value[:400] + b"..."
        at = f"for {shown!r} ({len(value)} bytes)"
        if weighed:
            tracemalloc.start()
        began = time.process_time()
        try:
            self.check(value)
            took = time.process_time() - began
            peak = tracemalloc.get_traced_memory()[1] if weighed else 0
        except BaseException as error:
            raise AssertionError(f"{error!r} {at}") from error
        finally:
            if weighed:
                tracemalloc.stop()
        if took > LONGEST:
            raise AssertionError(f"took {took:.1f} s {at}")
        if peak > MEMORY:
            raise AssertionError(f"needed {peak:,} bytes {at}")
