"""What a client has declared about the whole blob before it has sent all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from holdfast.coordination.ingest import Ingest
from holdfast.digests import Digest


@dataclass(frozen=True, slots=True)
class Declared:
    """What a client has declared about the whole blob.

    Attributes:
        total: its bytes, 0 if unknown.
        expected: its digest, None if unknown.
    """

    total: int = 0
    expected: Digest | None = None

    @classmethod
    def of(cls, ingest: Ingest) -> Self:
        """The declaration that earlier streams have recorded.

        Raises:
            InvalidArgument: the recorded digest is malformed.
        """
        return cls(ingest.total, Digest.parse(ingest.expected) if ingest.expected else None)

    def lacking(self, offset: int) -> int | None:
        """Bytes missing at `offset`; None if the total is unknown, below 0 if it was wrong."""
        return self.total - offset if self.total else None
