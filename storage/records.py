"""Records: the commit point of a digest, changed only by compare-and-swap.

absent → live → condemned → tombstone → live again …
             ↘ corrupt → live (a commit of the same bytes heals it)
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import crc32c

from holdfast.digests import Digest
from holdfast.errors import DataLoss, InvalidArgument, OutcomeUnknown, Unavailable, because, shorten
from holdfast.storage import documents
from holdfast.storage.keys import DATA, record_key
from holdfast.storage.port import ConditionFailed, IfAbsent, IfMatch, NoSuchKey, ObjectStore

FORMAT: Final = 2
BLOCK_SIZE: Final = 4 * 2**20
"""Bytes under one checksum; the last block of a blob may be shorter."""
INLINE_LIMIT: Final = 64 * 2**10
"""Size in bytes of the largest blob that is stored inside its record."""
ATTEMPTS: Final = 5
"""How often a compare-and-swap is sent while its outcome stays unknown."""

TORN: Final = ""
"""The ETag of an object that is torn so early that its ETag is lost."""

_DATA_KEY: Final = re.compile(re.escape(DATA) + r"[A-Za-z0-9._=-]+")
_KNOWN: Final = frozenset(
    {"format", "digest", "state", "size", "created_at", "data", "inline", "crc32c", "nonce"}
)


class State(StrEnum):
    """Where a digest is in its life; a digest without a record is "absent"."""

    LIVE = "live"
    CONDEMNED = "condemned"
    TOMBSTONE = "tombstone"
    CORRUPT = "corrupt"


def new_nonce() -> str:
    """128 random bits, by which equal documents differ and a writer recognises its own write."""
    return secrets.token_hex(16)


def block_count(size: int) -> int:
    """How many blocks a blob of `size` bytes has."""
    return -(-size // BLOCK_SIZE)


@dataclass(frozen=True, slots=True)
class Record:
    """What the store says of one digest.

    `data_key` names the ingest whose bytes these are, even if they are inline: by it a commit
    recognises that its own bytes were committed and then collected.
    `block_sums` are big-endian CRC32C values of 4 bytes each, one per block.
    """

    digest: Digest
    state: State
    size: int
    created_at_ns: int
    data_key: str
    block_sums: bytes
    nonce: str
    inline: bytes | None = None
    unknown: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def readable(self) -> bool:
        """Whether its bytes can be read, according to the record."""
        return self.state in {State.LIVE, State.CONDEMNED}

    def same_bytes(self, other: Record) -> bool:
        """Whether two records describe the same bytes in the same way, in whatever state."""
        return self.turned(State.LIVE, "") == other.turned(State.LIVE, "")

    def turned(self, state: State, nonce: str) -> Record:
        """The next record of the same bytes; a tombstone drops inline bytes."""
        inline = None if state is State.TOMBSTONE else self.inline
        return replace(self, state=state, nonce=nonce, inline=inline)

    def encode(self) -> bytes:
        """The stored form."""
        document: dict[str, Any] = {
            **self.unknown,
            "format": FORMAT,
            "digest": str(self.digest),
            "state": self.state.value,
            "size": self.size,
            "created_at": self.created_at_ns,
            "data": self.data_key,
            "crc32c": base64.b64encode(self.block_sums).decode(),
            "nonce": self.nonce,
        }
        if self.inline is not None:
            document["inline"] = base64.b64encode(self.inline).decode()
        return documents.encode(document)

    @classmethod
    def decode(cls, key: str, body: bytes) -> Record:
        """Reads the stored form.

        Raises:
            DataLoss: damaged, or not the record that `key` names.
            UnsupportedFormat: written by a newer version.
        """
        document = documents.decode(key, body, FORMAT)

        def text(name: str) -> str:
            return str(documents.field(key, document, name, str))

        try:
            record = cls(
                digest=Digest.parse(text("digest")),
                state=State(text("state")),
                size=documents.field(key, document, "size", int),
                created_at_ns=documents.field(key, document, "created_at", int),
                data_key=text("data"),
                block_sums=base64.b64decode(text("crc32c"), validate=True),
                nonce=text("nonce"),
                inline=base64.b64decode(text("inline"), validate=True)
                if "inline" in document
                else None,
                unknown={name: v for name, v in document.items() if name not in _KNOWN},
            )
        except (ValueError, binascii.Error, InvalidArgument) as error:
            raise DataLoss(f"record {key} is damaged: {because(error)}") from error
        record._check(key)
        return record

    @classmethod
    def damaged(cls, digest: Digest) -> Record:
        """What an unreadable record counts as: corrupt, of unknown bytes."""
        return cls(digest, State.CORRUPT, 0, 0, data_key="", block_sums=b"", nonce="")

    def _check(self, key: str) -> None:
        if not _DATA_KEY.fullmatch(self.data_key):
            raise DataLoss(f"record {key} is damaged: it names the data {shorten(self.data_key)}")
        if record_key(self.digest) != key:
            raise DataLoss(f"record {key} is damaged: it says it is of {self.digest}")
        if self.size < 0 or len(self.block_sums) != 4 * block_count(self.size):
            raise DataLoss(
                f"record {key} is damaged: {len(self.block_sums) // 4} block sums "
                f"for {self.size} bytes"
            )
        if self.inline is not None and len(self.inline) != self.size:
            raise DataLoss(
                f"record {key} is damaged: {len(self.inline)} bytes inline, size {self.size}"
            )
        if self.inline is not None and _sums(self.inline) != self.block_sums:
            raise DataLoss(f"record {key} is damaged: its inline bytes don't match their checksum")


def _sums(inline: bytes) -> bytes:
    """The block sums of inline bytes, as in `storage.blocks`."""
    pieces = (inline[at : at + BLOCK_SIZE] for at in range(0, len(inline), BLOCK_SIZE))
    return b"".join(struct.pack(">I", crc32c.crc32c(piece)) for piece in pieces)


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was read, with its ETag for a compare-and-swap."""

    record: Record
    etag: str
    last_modified: float


class LostRace(Exception):  # noqa: N818 -- an outcome, handled by every caller
    """Another write won; `current` is what is stored now (None: absent)."""

    def __init__(self, current: Seen | None) -> None:
        super().__init__(current)
        self.current = current


class Records:
    """The records of one store. Blocking; safe for many threads."""

    def __init__(self, store: ObjectStore, misread: documents.Misread = lambda _: None) -> None:
        """Makes no requests yet; `misread` is as in `documents.read`."""
        self._store = store
        self._misread = misread

    def read(self, digest: Digest) -> Seen | None:
        """The record of a digest as it is now, or None.

        If it is damaged in two readings, `Record.damaged` is returned instead: nobody reads by
        it, and a commit of the same bytes may replace it.

        Raises:
            UnsupportedFormat: written by a newer version.
        """
        key = record_key(digest)
        try:
            record, entry = documents.read(self._store, key, Record.decode, self._misread)
        except NoSuchKey:
            return None
        except documents.Damaged as error:
            record = Record.damaged(digest)
            if error.entry is None:
                return Seen(record, TORN, self._store.now())
            entry = error.entry
        return Seen(record, entry.etag, entry.last_modified)

    def mark_corrupt(self, seen: Seen, nonce: str) -> Seen:
        """Quarantines a digest: nobody reads its bytes any more; a commit of the bytes may heal it.

        Raises:
            LostRace: the record has changed since it was seen.
            Unavailable: the outcome stayed unknown.
        """
        return self.write(seen.record.turned(State.CORRUPT, nonce), seen)

    def restore(self, seen: Seen, nonce: str) -> Seen:
        """Ends a quarantine: the bytes that a corrupt record names are intact.

        The caller has read all of them, under this same record. The bytes of a tombstone are
        never revived.

        Raises:
            LostRace: the record has changed since it was seen.
            Unavailable: the outcome stayed unknown.
        """
        if seen.record.state is not State.CORRUPT:
            raise LostRace(seen)
        return self.write(seen.record.turned(State.LIVE, nonce), seen)

    def write(
        self, record: Record, over: Seen | None, may_send: Callable[[], None] = lambda: None
    ) -> Seen:
        """Compare-and-swap: stores `record` if `over` is still there (None: nothing is there).

        If there is no reply, or the condition fails, the record is read again. If it has our
        own nonce, the write took effect. If it is still what we expected, the write may be sent
        again: should a late duplicate win, it wins in our place.

        Args:
            record: what to store; its nonce must be fresh.
            over: what it replaces.
            may_send: called before every send; raises to refuse it.

        Raises:
            LostRace: another write came first.
            Unavailable: the outcome stayed unknown.
        """
        body, key = record.encode(), record_key(record.digest)
        condition = IfAbsent() if over is None else IfMatch(over.etag)
        for _ in range(ATTEMPTS):
            may_send()
            try:
                written = self._store.put(key, body, condition)
            except (ConditionFailed, OutcomeUnknown):
                current = self.read(record.digest)
                if current is not None and current.record.nonce == record.nonce:
                    return current
                if (current and current.etag) != (over and over.etag):
                    raise LostRace(current) from None
            else:
                return Seen(record, written.etag, written.date)
        raise Unavailable(
            f"record of {record.digest}: the store confirmed none of {ATTEMPTS} writes; try again"
        )
