"""What is written: bytes that follow from the seed, so that nothing need be kept to compare."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from holdfast.digests import CANONICAL, Digest

MIB = 2**20
SIZES = (
    (0.35, 0, 4 * 2**10),
    (0.65, 4 * 2**10, 256 * 2**10),
    (0.85, 256 * 2**10, 4 * MIB),
    (0.97, 4 * MIB, 16 * MIB),
    (1.00, 16 * MIB, 40 * MIB),
)
"""Up to which draw a content has how many bytes, from and to."""


@dataclass(frozen=True)
class Content:
    """One content: its number under the seed, its size in bytes, its digest."""

    seed: int
    number: int
    size: int
    digest: Digest

    def read(self) -> bytes:
        """All of it."""
        return _bytes(self.seed, self.number, self.size)


def content(seed: int, number: int) -> Content:
    """Content `number` of a seed."""
    dice = random.Random(f"{seed}/size/{number}")  # noqa: S311 -- content
    draw = dice.random()
    _, least, most = next(entry for entry in SIZES if draw <= entry[0])
    size = dice.randint(least, most)
    digest = Digest(CANONICAL, hashlib.sha256(_bytes(seed, number, size)).hexdigest())
    return Content(seed, number, size, digest)


def _bytes(seed: int, number: int, size: int) -> bytes:
    dice = random.Random(f"{seed}/bytes/{number}")  # noqa: S311 -- content
    base = dice.randbytes(min(size, MIB))
    further = (piece.to_bytes(8, "big") + base[8:] for piece in range(1, -(-size // MIB)))
    return b"".join((base, *further))[:size]
