"""Finds holds that name no content, and holds that can't be read; it only reports both.

    all holds are listed and read; those that are old enough are spooled by digest
    → each digest's record is read: there is none, or it is a tombstone
    → the hold is still there: it is reported

A hold that is younger than the longest life of an ingest may belong to a commit under way. Holds
are listed by tenant; the spool, on disk, brings the holds on one digest together, so that the
digest's record is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat, because
from holdfast.service.scrub.abreast import Abreast
from holdfast.service.scrub.report import DamageKind, Finding, ScrubAction, ScrubReport
from holdfast.storage.holds import Holds
from holdfast.storage.keys import DELETING, HOLDS, hold_digest, proper, record_digest, record_key
from holdfast.storage.port import Entry, NoSuchKey, ObjectStore
from holdfast.storage.records import Records, State
from holdfast.storage.spool import Spool, Spools, halves, line_of

TOLD: Final = 10
"""Most holds on one digest that are looked at; more would add nothing."""


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record's key, and some of the holds that name it."""

    record: str
    holds: tuple[str, ...]


class HoldsWalk:
    """The pass over all holds. It must be called in one thread, and uses others itself."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        records: Records,
        holds: Holds,
        report: ScrubReport,
        abreast: Abreast,
        spools: Spools,
        oldest: float,
    ) -> None:
        """Puts it together.

        Args:
            store: the store that is walked.
            records: the records of the store.
            holds: the holds of the store.
            report: receives what is found.
            abreast: makes concurrent requests.
            spools: sort lines on disk.
            oldest: seconds for which a hold may have no record: the longest that a commit
                can take.
        """
        self._store = store
        self._records = records
        self._holds = holds
        self._report = report
        self._abreast = abreast
        self._spools = spools
        self._oldest = oldest

    def __call__(self) -> None:
        """Walks all holds.

        Raises:
            Stopped: the scrub was told to stop.
            HoldfastError: the store fails.
        """
        spool = self._spools.new()
        for line in self._abreast.each(self._look, self._unmarked()):
            if line:
                spool.add(line)
        for _ in self._abreast.each(self._settle, _grouped(spool)):
            pass

    def _unmarked(self) -> Iterator[Entry]:
        """Yields the holds that have no Delete's mark beside them."""
        hold: Entry | None = None
        for entry in self._store.list(HOLDS):
            if hold is not None and entry.key != hold.key + DELETING:
                yield hold
            hold = None if entry.key.endswith(DELETING) else entry
        if hold is not None:
            yield hold

    def _look(self, entry: Entry) -> bytes:
        """Checks a hold; returns its line for the spool, or b"" if it needn't be joined."""
        self._report.add(holds=1)
        try:
            digest = hold_digest(entry.key) if proper(entry.key) else None
        except DataLoss:
            digest = None
        if digest is None:
            self._find(DamageKind.NOT_A_HOLD, "", entry.key, "not a hold by its name; remove it")
            return b""
        if not self._report.shallow:
            self._read(entry.key, digest)
        if self._store.now() - entry.last_modified <= self._oldest:
            return b""
        return line_of(record_key(digest), entry.key)

    def _read(self, key: str, digest: Digest) -> None:
        try:
            self._holds.read(key)
        except NoSuchKey:
            return  # it was deleted since it was listed
        except DataLoss as error:
            detail = f"{because(error)}; its tenant's Delete removes it, or remove it by hand"
            self._find(DamageKind.HOLD_DAMAGED, str(digest), key, detail)
        except UnsupportedFormat as error:
            self._find(DamageKind.HOLD_NEWER, str(digest), key, because(error))

    def _settle(self, named: HeldRecord) -> None:
        self._abreast.check()
        digest = record_digest(named.record)
        try:
            seen = self._records.read(digest)
        except UnsupportedFormat:
            return  # the pass over records reports it
        if seen is not None and seen.record.state is not State.TOMBSTONE:
            return
        for key in named.holds:
            if not self._there(key):
                continue  # it was deleted since it was listed
            what = "a tombstone" if seen else "no record"
            detail = f"there is {what} of its digest; its tenant's Delete takes it, or a commit"
            self._find(DamageKind.HOLD_WITHOUT_CONTENT, str(digest), key, f"{detail} fills it")
            return

    def _there(self, key: str) -> bool:
        try:
            self._store.head(key)
        except NoSuchKey:
            return False
        except DataLoss:
            pass  # it is torn, but it is there
        return True

    def _find(self, kind: DamageKind, digest: str, key: str, detail: str) -> None:
        self._report.find(Finding(kind, digest, key, ScrubAction.REPORTED, detail))


def _grouped(spool: Spool) -> Iterator[HeldRecord]:
    lines = map(halves, spool.sorted())
    for record, group in groupby(lines, key=lambda line: line[0]):
        yield HeldRecord(
            record, tuple(hold for _, (_, hold) in zip(range(TOLD), group, strict=False))
        )
