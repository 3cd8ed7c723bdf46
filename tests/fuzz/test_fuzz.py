"""Every parser that reads what others wrote keeps its promises, whatever it is given.

`python -m tests.fuzz` does the same for as long as one likes.
"""

from __future__ import annotations

import random
import time
from itertools import count
from typing import Final

import pytest

from tests.fuzz.target import MEMORY, Target
from tests.fuzz.targets import TARGETS

SECONDS: Final = 3.0
MINUTE: Final = 60.0
SEED: Final = random.randrange(2**32)  # noqa: S311 -- no secret
"""Another one in each run; what is found names it."""
FOUND: Final = {
    "redis-url": (b"redis://user:" + b"s:secret/" * 7_000,),
    "redis": (b"open %1\r\n*0\r\n+a\r\n",),
}
"""Values of at most 64 KiB that an earlier run found."""


def fuzz(name: str, seconds: float) -> None:
    """Has a parser read changed values for so long."""
    until = time.monotonic() + seconds
    for number in count():
        TARGETS[name].attempt(SEED, number)
        if time.monotonic() > until:
            return


@pytest.mark.parametrize("name", TARGETS)
def test_for_a_moment(name: str) -> None:
    """The parser returns a value that is written and read alike, or one of its errors."""
    fuzz(name, SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_for_a_minute(name: str) -> None:
    """It does so for a minute, too."""
    fuzz(name, MINUTE)


@pytest.mark.parametrize("name", TARGETS)
def test_real_values_are_read(name: str) -> None:
    """What the changes begin with is accepted, or else they would try little."""
    target = TARGETS[name]
    for value in target.corpus:
        target.check(target.seal(value) if target.seal else value)


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_read(name: str) -> None:
    """Values that broke a promise once keep it now."""
    for value in FOUND[name]:
        TARGETS[name].read(value, weighed=True)


def test_a_broken_promise_is_found() -> None:
    """A parser that fails on one byte is caught, with the options that repeat it."""

    def check(data: bytes) -> None:
        assert b"\0" not in data

    broken = Target("broken", (b"some text",), check)
    with pytest.raises(AssertionError, match=r"again: python -m tests\.fuzz broken") as found:
        attempt_many(broken)
    number = int(str(found.value).rpartition(" ")[2])
    with pytest.raises(AssertionError, match="again"):
        broken.attempt(1, number)


def attempt_many(target: Target) -> None:
    """Tries the first values of a target."""
    for number in range(10_000):
        target.attempt(1, number)


def nothing(data: bytes) -> None:
    """A parser that promises nothing."""
    del data


def test_what_takes_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that takes more time than it may is caught."""
    monkeypatch.setattr("tests.fuzz.target.LONGEST", -1.0)
    with pytest.raises(AssertionError, match="took"):
        Target("slow", (b"some text",), nothing).attempt(1, 1)


def test_what_needs_much_is_found() -> None:
    """A parser that takes more memory than it may is caught."""

    def check(data: bytes) -> None:
        bytearray(2 * MEMORY + len(data))

    with pytest.raises(AssertionError, match="needed"):
        Target("large", (b"some text",), check).attempt(1, 0)
