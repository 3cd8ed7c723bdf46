"""Inspects one record, judges it twice, and quarantines it, or makes it live again.

    read the record → examine its bytes → sound
                                        → damaged: read the record again
      names other bytes → start over with them
      the same          → look again → still damaged → CAS to corrupt, from that ETag
    corrupt, but all its bytes are good → CAS to live, from the ETag under which they were read

The swap can only hit the very record whose bytes were examined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat, because
from holdfast.service.scrub.brake import MarkBrake, ScrubBraked
from holdfast.service.scrub.caches import Caches
from holdfast.service.scrub.examination import Damage, Examiner
from holdfast.service.scrub.report import DamageKind, Finding, ScrubAction, ScrubReport
from holdfast.storage.keys import record_digest, record_key
from holdfast.storage.records import LostRace, Record, Records, Seen, State

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 8
"""Attempts at a record that changes while it is inspected."""


class Inspector:
    """Inspects records, one in each call. Safe for many threads."""

    def __init__(
        self,
        *,
        records: Records,
        examiner: Examiner,
        caches: Caches,
        brake: MarkBrake,
        report: ScrubReport,
        new_nonce: Callable[[], str],
    ) -> None:
        """Puts it together.

        Args:
            records: the records of the store.
            examiner: examines bytes.
            caches: makes frontends forget what was marked.
            brake: asked before each mark.
            report: receives what is found.
            new_nonce: makes nonces for records.
        """
        self._records = records
        self._examiner = examiner
        self._caches = caches
        self._brake = brake
        self._report = report
        self._new_nonce = new_nonce

    def __call__(self, key: str) -> Digest | None:
        """Inspects the record at a key; returns its digest, or None if the key isn't a record's.

        Raises:
            Stopped: the scrub was told to stop, or has found too much damage to mark all of it.
            HoldfastError: the store fails.
        """
        self._report.add(records=1)
        try:
            digest = record_digest(key)
        except DataLoss as error:
            self._find(
                DamageKind.NOT_A_RECORD,
                "",
                key,
                ScrubAction.REPORTED,
                f"{because(error)}; remove it",
            )
            return None
        try:
            self._inspect(digest)
        except UnsupportedFormat as error:
            self._find(
                DamageKind.RECORD_NEWER, str(digest), key, ScrubAction.REPORTED, because(error)
            )
        self._caches.refresh_if_due()
        return digest

    def _inspect(self, digest: Digest) -> None:
        last: Damage | None = None
        for _ in range(ATTEMPTS):
            seen = self._records.read(digest)
            if seen is None or seen.record.state is State.TOMBSTONE:
                return
            if not seen.record.readable:
                if self._corrupt(digest, seen):
                    return
                continue
            last = self._examiner.damage(seen.record)
            if last is None or self._settled(seen.record, last):
                return
        if last is not None:
            self._find(last.kind, str(digest), record_key(digest), ScrubAction.LEFT, last.detail)

    def _corrupt(self, digest: Digest, seen: Seen) -> bool:
        """Restores or reports a record that is corrupt already; False if it changed meanwhile."""
        record = seen.record
        if record.data_key and not self._report.shallow and not self._examiner.damage(record):
            return self._restored(seen)
        # A frontend may have remembered a hold on it before it was marked, and the run that
        # marked it may have died before it could make frontends forget.
        self._caches.outdated()
        if record.data_key:
            detail = "marked corrupt before; a commit of the same content heals it"
            self._find(
                DamageKind.QUARANTINED,
                str(digest),
                record.data_key,
                ScrubAction.CORRUPT_ALREADY,
                detail,
            )
            return True
        again = self._records.read(digest)
        if again is None or again.record != record:
            self._report.add(misreads=1)
            return False
        detail = "the record can't be read; a commit of the same content replaces it"
        self._find(
            DamageKind.RECORD_DAMAGED,
            str(digest),
            record_key(digest),
            ScrubAction.CORRUPT_ALREADY,
            detail,
        )
        return True

    def _restored(self, seen: Seen) -> bool:
        """Makes a record with good bytes live again; False if the record changed meanwhile."""
        action = ScrubAction.WOULD_RESTORE if self._report.dry_run else ScrubAction.RESTORED
        if action is ScrubAction.RESTORED:
            try:
                self._records.restore(seen, self._new_nonce())
            except LostRace:
                return False
        record = seen.record
        detail = "marked corrupt before, and all its bytes are those of the digest"
        self._find(DamageKind.RESTORED, str(record.digest), record.data_key, action, detail)
        return True

    def _settled(self, record: Record, damage: Damage) -> bool:
        """Examines a record again, and quarantines it; False if it changed, to start over."""
        again = self._records.read(record.digest)
        if again is None or not again.record.readable or not again.record.same_bytes(record):
            return False
        confirmed = self._examiner.confirmed(again.record, damage)
        if confirmed is None:
            self._report.add(misreads=1)
            return True
        action = ScrubAction.WOULD_MARK if self._report.dry_run else ScrubAction.MARKED
        try:
            self._brake.check()
        except ScrubBraked as braked:
            self._report.brake = because(braked)
            if action is ScrubAction.MARKED:
                self._tell(again.record, confirmed, ScrubAction.HELD_BACK)
                raise
        if action is ScrubAction.MARKED and not self._mark(again):
            return False
        self._tell(again.record, confirmed, action)
        return True

    def _tell(self, record: Record, damage: Damage, action: ScrubAction) -> None:
        self._find(damage.kind, str(record.digest), record.data_key, action, damage.detail)

    def _mark(self, seen: Seen) -> bool:
        try:
            self._records.mark_corrupt(seen, self._new_nonce())
        except LostRace:
            return False
        finally:
            # If the reply was lost, the record may be marked all the same.
            self._caches.outdated()
        return True

    def _find(
        self, kind: DamageKind, digest: str, key: str, action: ScrubAction, detail: str
    ) -> None:
        finding = Finding(kind, digest, key, action, detail)
        self._report.find(finding)
        if kind is DamageKind.RESTORED:
            log.warning("record restored; its bytes are intact", digest=digest, key=key)
        else:
            log.warning(
                "damage found",
                kind=kind.value,
                digest=digest,
                key=key,
                action=action.value,
                detail=detail,
            )
