"""Requests by what they are, and what S3 calls them on the bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

WRITES: Final = frozenset({"put", "create", "part", "complete", "list", "parts", "uploads"})
"""Operations that S3 charges as "PUT, COPY, POST, LIST"."""
READS: Final = frozenset({"get", "head"})
"""Operations that S3 charges as "GET and all other requests"."""
FREE: Final = frozenset({"delete"})
"""DELETE of objects and of uploads."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What something asks of S3 and of Redis: how often, by operation and where.

    An operation on S3 is `put blobs`, `get data` …: its kind, and the first part of the
    key. One on Redis is a script's name, or a command's.
    """

    s3: Mapping[str, float] = field(default_factory=dict)
    redis: Mapping[str, float] = field(default_factory=dict)

    def _charged(self, operations: frozenset[str]) -> float:
        return sum(n for kind, n in self.s3.items() if kind.split(" ")[0] in operations)

    @property
    def writes(self) -> float:
        """S3 requests that are charged as writes."""
        return self._charged(WRITES)

    @property
    def reads(self) -> float:
        """S3 requests that are charged as reads."""
        return self._charged(READS)

    @property
    def free(self) -> float:
        """S3 requests that cost nothing."""
        return self._charged(FREE)

    @property
    def all_s3(self) -> float:
        """All S3 requests."""
        return sum(self.s3.values())

    @property
    def all_redis(self) -> float:
        """All Redis requests."""
        return sum(self.redis.values())

    def times(self, number: float) -> Requests:
        """So many of these."""
        return Requests(
            {kind: n * number for kind, n in self.s3.items()},
            {kind: n * number for kind, n in self.redis.items()},
        )

    def __add__(self, other: Requests) -> Requests:
        return Requests(_sum(self.s3, other.s3), _sum(self.redis, other.redis))


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in {**one, **other}}
