"""What a writer records about its ingest: values that know their fields in Redis.

No code outside this package names a field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.scripts import Argument
from holdfast.digests import Digest

TAIL: Final = ("tail_key", "tail_size", "tail_sums")
"""The fields of a tail."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of an ingest at the end of a stored part; no tail needs to keep its bytes any more.

    Attributes:
        offset: where the part ends, in bytes.
        live: bytes that the writer has received so far; at least `offset`.
        part_size: bytes of a full part.
        upload_id: of the multipart upload.
        begun: when the upload was created, in s by the store's clock; None keeps what is recorded.
        hash: state of the hash at `offset`, encoded; "" if it can't be saved.
        full: whether the part is full, so that a rewind may return to its end.
    """

    offset: int
    live: int
    part_size: int
    upload_id: str
    begun: float | None
    hash: str
    full: bool

    def arguments(self) -> list[Argument]:
        """Its fields as arguments of the script."""
        fields: dict[str, Argument] = {
            "upload_id": self.upload_id,
            "part_size": self.part_size,
            "offset": self.offset,
            "live": self.live,
            "hash": self.hash,
            "crc": 0,
            "crc_filled": 0,
        }
        if self.begun is not None:
            fields["begun"] = repr(self.begun)
        if self.full:
            fields["boundary_hash"] = self.hash
        return _arguments(fields, TAIL)


@dataclass(frozen=True, slots=True)
class SavedTail:
    """A tail object, which makes durable the bytes after the last full part.

    Attributes:
        key: of the object.
        size: bytes in it.
        sums: checksums of its full blocks.
        offset: where it ends in the ingest, in bytes: the end of all that was received.
        hash: state of the hash at `offset`, encoded; "" if it can't be saved.
        crc: checksum of the last, unfinished block before `offset` …
        crc_filled: … and how many bytes it covers.
    """

    key: str
    size: int
    sums: bytes
    offset: int
    hash: str
    crc: int
    crc_filled: int

    def arguments(self) -> list[Argument]:
        """Its fields as arguments of the script."""
        return _arguments(
            {
                "tail_key": self.key,
                "tail_size": self.size,
                "tail_sums": self.sums.hex(),
                "offset": self.offset,
                "live": self.offset,
                "hash": self.hash,
                "crc": self.crc,
                "crc_filled": self.crc_filled,
            }
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """The object is complete, but no commit of it has succeeded."""

    def arguments(self) -> list[Argument]:
        """Its fields as arguments of the script."""
        return _arguments({"sealed": "1"})


@dataclass(frozen=True, slots=True)
class Progress:
    """A writer's progress, and what its client has declared.

    Attributes:
        live: bytes that it has received.
        total: bytes of the whole blob, 0 if unknown.
        expected: digest of the whole blob, None if unknown.
    """

    live: int
    total: int
    expected: Digest | None

    def arguments(self) -> list[Argument]:
        """Its fields as arguments of the script."""
        expected = str(self.expected) if self.expected else ""
        return _arguments({"live": self.live, "total": self.total, "expected": expected})


def _arguments(fields: Mapping[str, Argument], removed: Sequence[str] = ()) -> list[Argument]:
    """The number of fields to set, each field and its value, then the fields to remove."""
    flat = [word for pair in fields.items() for word in pair]
    return [len(fields), *flat, *removed]
