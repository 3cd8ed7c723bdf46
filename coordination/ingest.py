"""One ingest as it is in Redis: its fields, its parts, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast import formats
from holdfast.errors import DataLoss, because, shorten
from holdfast.values import Status

LAYOUT: Final = formats.INGEST
"""The newest version of an ingest's fields that is known here. One that states none has the first.
Another one is shown, and Abort ends it, but it isn't continued."""
LARGEST: Final = 2**63 - 1
"""Clients are told numbers as an int64."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A stored part of an upload: its ETag, its size in bytes, and the sums of its blocks."""

    etag: str
    size: int
    block_sums: bytes

    def encode(self) -> str:
        """`<size>|<sums in hex>|<etag>`; the ETag is last because it may contain anything."""
        return f"{self.size}|{self.block_sums.hex()}|{self.etag}"

    @classmethod
    def decode(cls, stored: str) -> StoredPart:
        """Reads what `encode` wrote."""
        size, sums, etag = stored.split("|", 2)
        return cls(etag, int(size), bytes.fromhex(sums))


@dataclass(frozen=True, slots=True)
class Ingest:
    """An ingest as it is in Redis.

    Attributes:
        ref: its name within the tenant.
        data_key: where its bytes go in the store; never used by another ingest.
        offset: bytes that are durable: those of the parts and of the tail.
        live: bytes that its writer has received; at least `offset`.
        total: bytes that the client declared, 0 if unknown.
        expected: digest that the client declared, "" if unknown.
        started_at_ns: when it was first opened, in ns since 1970.
        updated_at_ns: when it was last updated, in ns since 1970.
        hash: state of the hash at `offset`, encoded; "" if it can't be saved.
        crc: checksum of the last, unfinished block before `offset` …
        crc_filled: … and how many bytes it covers.
        boundary_hash: state of the hash at the end of the last full part.
        part_size: bytes of a full part, 0 before the first.
        upload_id: of the multipart upload, "" before the first full part.
        begun: when `data_key` was first used, in s by the store's clock.
        tail_key: object that holds what follows the last full part, "" if none.
        tail_size: bytes in it.
        tail_sums: checksums of its full blocks, in hexadecimal.
        frozen: the commit that is being carried out, "" if none.
        sealed: the object is complete, but no commit of it has succeeded.
        parts: the parts that are stored, in order.
        nonce: of the lease of the stream that is writing it, "" if none or not asked for.
    """

    ref: str
    data_key: str
    offset: int = 0
    live: int = 0
    total: int = 0
    expected: str = ""
    started_at_ns: int = 0
    updated_at_ns: int = 0
    hash: str = ""
    crc: int = 0
    crc_filled: int = 0
    boundary_hash: str = ""
    part_size: int = 0
    upload_id: str = ""
    begun: float | None = None
    tail_key: str = ""
    tail_size: int = 0
    tail_sums: str = ""
    frozen: str = ""
    sealed: bool = False
    parts: tuple[StoredPart, ...] = ()
    nonce: str = ""

    @classmethod
    def decode(cls, ref: str, stored: Mapping[str, str], parts: Sequence[str] = ()) -> Ingest:
        """Reads the hash and the list of one ingest.

        Raises:
            DataLoss: a field isn't as it was written.
        """
        try:
            return cls._decode(ref, stored, parts)
        except (KeyError, ValueError) as error:
            raise DataLoss(
                f"ref {shorten(ref)}: what Redis has of this write can't be read "
                f"({type(error).__name__}: {shorten(because(error))}); Abort it, and write it anew"
            ) from error

    @classmethod
    def _decode(cls, ref: str, stored: Mapping[str, str], parts: Sequence[str]) -> Ingest:
        def number(name: str) -> int:
            value = int(stored.get(name) or 0)
            if not 0 <= value <= LARGEST:
                raise ValueError(f"{name} is {shorten(value)}")
            return value

        tail_sums = stored.get("tail_sums", "")
        bytes.fromhex(tail_sums)
        return cls(
            ref=ref,
            data_key=stored["data_key"],
            offset=number("offset"),
            live=max(number("live"), number("offset")),
            total=number("total"),
            expected=stored.get("expected", ""),
            started_at_ns=number("started_at"),
            updated_at_ns=number("updated_at"),
            hash=stored.get("hash", ""),
            crc=number("crc"),
            crc_filled=number("crc_filled"),
            boundary_hash=stored.get("boundary_hash", ""),
            part_size=number("part_size"),
            upload_id=stored.get("upload_id", ""),
            begun=_finite(stored["begun"]) if stored.get("begun") else None,
            tail_key=stored.get("tail_key", ""),
            tail_size=number("tail_size"),
            tail_sums=tail_sums,
            frozen=stored.get("frozen", ""),
            sealed=stored.get("sealed") == "1",
            parts=tuple(StoredPart.decode(part) for part in parts),
        )

    def status(self, offset: int) -> Status:
        """Its status as reported to clients."""
        return Status(
            ref=self.ref,
            offset=offset,
            total=self.total,
            expected=self.expected,
            started_at_ns=self.started_at_ns,
            updated_at_ns=self.updated_at_ns,
        )


def _finite(stored: str) -> float:
    value = float(stored)
    if not math.isfinite(value):
        raise ValueError(f"{shorten(stored)} isn't a time")
    return value


@dataclass(frozen=True, slots=True)
class Done:
    """The mark that a recent commit left: its digest, and its size in bytes."""

    digest: str
    size: int

    def encode(self) -> str:
        """`<size> <digest>`."""
        return f"{self.size} {self.digest}"

    @classmethod
    def decode(cls, stored: str) -> Done:
        """Reads what `encode` wrote."""
        size, _, digest = stored.partition(" ")
        return cls(digest, int(size))


@dataclass(frozen=True, slots=True)
class Turn:
    """Another commit of the same digest by the same tenant, as its key in Redis describes it."""

    text: str

    @property
    def ended(self) -> bool:
        """Whether that commit has ended, so that the tenant may already hold the digest."""
        return self.text.startswith("ended ")


@dataclass(frozen=True, slots=True)
class Opened:
    """An ingest whose lease is ours.

    Attributes:
        ingest: as it is now.
        done: the mark of the ref's last commit, if there is one.
        open_bytes: durable bytes of all ingests of its tenant.
    """

    ingest: Ingest
    done: Done | None
    open_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """What an abort found: an ingest, which it dropped; a frozen one, which stays; or none."""

    ingest: Ingest | None
    frozen: bool
