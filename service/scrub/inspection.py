"""One record: looked at, judged twice, quarantined.

    read the record → examine its bytes → sound
                                        → damaged: read the record again
      names other bytes → start over with them
      the same          → look again → still damaged → CAS to corrupt, from that ETag

The swap can hit only the very record whose bytes were found damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat
from service.scrub.caches import Caches
from service.scrub.examination import Damage, Examiner
from service.scrub.report import Action, Finding, Kind, Report
from storage.keys import record_digest, record_key
from storage.records import LostRace, Record, Records, Seen, State

log = structlog.get_logger(__name__)

ATTEMPTS: Final = 8
"""How often a record that changes under the scrub is begun anew."""


class Inspector:
    """Looks at one record at a time. Safe for many threads."""

    def __init__(
        self,
        records: Records,
        examiner: Examiner,
        caches: Caches,
        report: Report,
        new_nonce: Callable[[], str],
    ) -> None:
        self._records = records
        self._examiner = examiner
        self._caches = caches
        self._report = report
        self._new_nonce = new_nonce

    def __call__(self, key: str) -> Digest | None:
        """Looks at the record of a key; returns its digest.

        Raises:
            Stopped: the scrub is to end.
            HoldfastError: the store fails.
        """
        self._report.add(records=1)
        try:
            digest = record_digest(key)
        except DataLoss as error:
            self._find(Kind.NOT_A_RECORD, "", key, Action.REPORTED, f"{error}; remove it")
            return None
        try:
            self._inspect(digest)
        except UnsupportedFormat as error:
            self._find(Kind.RECORD_NEWER, str(digest), key, Action.REPORTED, str(error))
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
            self._find(last.kind, str(digest), record_key(digest), Action.LEFT, last.detail)

    def _corrupt(self, digest: Digest, seen: Seen) -> bool:
        """Reports what counts as corrupt already; False: it has changed meanwhile."""
        record = seen.record
        # A frontend may have remembered it before it was marked, and the run that marked
        # it may have died before it could see to that.
        self._caches.outdated()
        if record.data_key:
            detail = "marked corrupt before; a commit of the same content heals it"
            self._find(
                Kind.QUARANTINED, str(digest), record.data_key, Action.CORRUPT_ALREADY, detail
            )
            return True
        again = self._records.read(digest)
        if again is None or again.record != record:
            self._report.add(misreads=1)
            return False
        detail = "the record can't be read; a commit of the same content replaces it"
        self._find(
            Kind.RECORD_DAMAGED, str(digest), record_key(digest), Action.CORRUPT_ALREADY, detail
        )
        return True

    def _settled(self, record: Record, damage: Damage) -> bool:
        """Looks again, and quarantines; False: the record has changed, start over."""
        again = self._records.read(record.digest)
        if again is None or not again.record.readable or not _same(again.record, record):
            return False
        confirmed = self._examiner.confirmed(again.record, damage)
        if confirmed is None:
            self._report.add(misreads=1)
            return True
        action = Action.WOULD_MARK if self._report.dry_run else Action.MARKED
        if action is Action.MARKED and not self._mark(again):
            return False
        self._find(confirmed.kind, str(record.digest), record.data_key, action, confirmed.detail)
        return True

    def _mark(self, seen: Seen) -> bool:
        try:
            self._records.mark_corrupt(seen, self._new_nonce())
        except LostRace:
            return False
        finally:
            # Without a reply it may be marked all the same.
            self._caches.outdated()
        return True

    def _find(self, kind: Kind, digest: str, key: str, action: Action, detail: str) -> None:
        finding = Finding(kind, digest, key, action, detail)
        self._report.find(finding)
        log.warning(
            "damage found",
            kind=kind.value,
            digest=digest,
            key=key,
            action=action.value,
            detail=detail,
        )


def _same(one: Record, other: Record) -> bool:
    """Whether two records say the same of the same bytes, whatever their state."""
    return one.turned(State.LIVE, "") == other.turned(State.LIVE, "")
