"""Checks whether the bytes of a record are those that were committed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.digests import Digest
from holdfast.errors import DataLoss, because
from holdfast.service.scrub.pace import ScrubRate
from holdfast.service.scrub.report import DamageKind, ScrubReport
from holdfast.storage import blocks
from holdfast.storage.blocks import Span
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import Record


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with the bytes of a record."""

    kind: DamageKind
    detail: str


class Examiner:
    """Examines the bytes of records, block by block. Safe for many threads."""

    def __init__(
        self,
        store: ObjectStore,
        pace: ScrubRate,
        report: ScrubReport,
        between: Callable[[], None],
    ) -> None:
        """Puts it together.

        Args:
            store: has the data objects.
            pace: limits how fast they are read.
            report: counts the bytes read; says whether the scrub is shallow.
            between: called before each block; raises to end the examination.
        """
        self._store = store
        self._pace = pace
        self._report = report
        self._between = between

    def damage(self, record: Record) -> Damage | None:
        """Returns what is wrong with a record's bytes; None if nothing is."""
        try:
            if record.inline is not None:
                self._report.add(size=record.size)
                return _misnamed(record, Digest.of(record.inline, record.digest.algorithm))
            found = self._object(record)
            return found if found or self._report.shallow else self._content(record)
        except NoSuchKey:
            return Damage(DamageKind.DATA_MISSING, f"there is no object {record.data_key}")

    def confirmed(self, record: Record, damage: Damage) -> Damage | None:
        """Examines damaged bytes a second time; None if they are good then.

        A damaged block isn't read again, because it has already been read twice.
        """
        return damage if damage.kind is DamageKind.BLOCK_SUM else self.damage(record)

    def _object(self, record: Record) -> Damage | None:
        try:
            size = self._store.head(record.data_key).size
        except DataLoss as error:
            return Damage(DamageKind.DATA_SIZE, because(error))
        if size == record.size:
            return None
        return Damage(DamageKind.DATA_SIZE, f"{size} bytes, and the record says {record.size}")

    def _content(self, record: Record) -> Damage | None:
        running = hashlib.new(record.digest.algorithm)
        for block in blocks.spans(record):
            body = self._block(record, block)
            if body is None:
                end = block.offset + block.length
                return Damage(
                    DamageKind.BLOCK_SUM,
                    f"block {block.index} (bytes {block.offset} to {end}) "
                    "doesn't match its checksum",
                )
            running.update(body)
        return _misnamed(record, Digest(record.digest.algorithm, running.hexdigest()))

    def _block(self, record: Record, block: Span) -> bytes | None:
        """Returns a block's bytes; None if they are damaged at a second read, too."""
        body = self._read(record, block)
        if body is None:
            body = self._read(record, block)
            if body is not None:
                self._report.add(misreads=1)
        return body

    def _read(self, record: Record, block: Span) -> bytes | None:
        self._between()
        self._pace.take(block.length)
        self._between()
        self._report.add(size=block.length)
        try:
            return blocks.fetch(self._store, record, block.index)
        except DataLoss:
            return None


def _misnamed(record: Record, actual: Digest) -> Damage | None:
    if actual == record.digest:
        return None
    return Damage(DamageKind.DIGEST, f"the bytes match their checksums, but are those of {actual}")
