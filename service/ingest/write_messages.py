"""The requests and replies of a write stream, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from holdfast.digests import Digest
from holdfast.errors import InvalidArgument
from holdfast.values import check_labels

Received = bytes | bytearray
"""A message as a transport has received it."""


class Action(Enum):
    """The action that a message requests."""

    STAT = 0
    WRITE = 1
    COMMIT = 2
    ABORT = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One request of a write stream; sizes are in bytes.

    Its bytes are `data[begin:]`, `size` of them. Before them, `data` has the rest of the message
    as it came, so that the bytes needn't be copied out of it.
    """

    action: Action
    ref: str = ""
    total: int = 0
    expected: str = ""
    offset: int = 0
    data: Received = b""
    begin: int = 0
    labels: Mapping[str, str] | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.data) - self.begin)

    def check(self) -> None:
        """Refuses what would be wrong in any state of the ingest.

        Raises:
            InvalidArgument: a negative number, a malformed digest, or labels that a hold refuses.
        """
        for name, value in (("total", self.total), ("offset", self.offset)):
            if value < 0:
                raise InvalidArgument(f"{name} is {value}; it can't be negative")
        if self.expected:
            Digest.parse(self.expected)
        if self.labels:
            check_labels(self.labels)

    def repeats(self, digest: str, size: int) -> bool:
        """Whether this may be the COMMIT that made a blob of `size` bytes, sent again."""
        return (
            self.action is Action.COMMIT
            and not self.size
            and self.expected in {"", digest}
            and self.offset in {0, size}
            and self.total in {0, size}
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one message; `last` ends the stream.

    Of `offset` bytes that were received, `kept` would outlive this process.
    """

    action: Action
    started_at_ns: int
    updated_at_ns: int
    offset: int
    total: int
    digest: str
    kept: int = 0
    last: bool = False
