"""Content digests: `<algorithm>:<lower-case hex>`.

Source: the OCI image specification, "Digests"; the algorithms are those that
containerd accepts.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from holdfast.errors import InvalidArgument, shorten

HEX_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Length of the hexadecimal part by algorithm."""

CANONICAL: Final = "sha256"
"""The default algorithm."""

_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest that is known to be well-formed."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        """Refuses what isn't a digest.

        Raises:
            InvalidArgument: unknown algorithm, wrong length, or not lower-case hex.
        """
        expected = HEX_LENGTHS.get(self.algorithm)
        if expected is None:
            raise InvalidArgument(
                f"digest algorithm {shorten(self.algorithm)} is not supported; "
                f"use one of {', '.join(HEX_LENGTHS)}"
            )
        if len(self.hex) != expected or not _HEX.fullmatch(self.hex):
            raise InvalidArgument(
                f"digest {shorten(f'{self.algorithm}:{self.hex}')}: "
                f"expected {expected} lower-case hexadecimal digits after '{self.algorithm}:'"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `<algorithm>:<hex>`.

        Raises:
            InvalidArgument: `text` isn't a digest.
        """
        algorithm, colon, digits = text.partition(":")
        if not colon:
            raise InvalidArgument(
                f"digest {shorten(text)} is malformed: expected '<algorithm>:<hex>'"
            )
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = CANONICAL) -> Self:
        """The digest of some bytes."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
