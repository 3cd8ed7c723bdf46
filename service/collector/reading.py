"""Reads the records that aren't known, and decides what each protects and what happens to it.

A record that can't be read may name any data: while there is one, no data is deleted. A corrupt
record protects its data, so that a wrong verdict loses nothing; a tombstone protects its data only
until the read grace is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final

from holdfast.errors import DataLoss, HoldfastError, UnsupportedFormat
from holdfast.service.collector.known import Known, Learnt, Pages
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.retention import MarkedRecord, Retention, list_markers
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Candidate, Survey
from holdfast.storage.keys import RECORDS, record_digest
from holdfast.storage.port import Entry
from holdfast.storage.records import State
from holdfast.storage.retained import RetentionMarker
from holdfast.storage.spool import joined, line_of

PLAIN: Final = "n"
"""The data is protected by a record that is live, condemned or corrupt …"""
READ_GRACE: Final = "r"
"""… or by a tombstone that is too young."""

Name = tuple[bytes, int]
"""The key of a record that holds name, and how many tenants' they are."""
ListedRecord = tuple[Entry | None, Name | None]
"""A record's entry in the listing, and its name if a hold names it; not both are None."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A listed record, how many tenants hold it, its markers, and what is known of its ETag."""

    entry: Entry
    holders: int
    known: Known | None
    markers: tuple[RetentionMarker, ...] = ()

    @property
    def held(self) -> bool:
        """Whether any hold names it."""
        return self.holders > 0


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """What is known of a record now; `known` is None if it isn't there, or couldn't be read."""

    asked: Asked
    known: Known | None
    modified: float = 0.0
    read: bool = True
    damaged: str | None = None
    """The ETag of an object that is damaged, so that it isn't a record any more."""
    error: HoldfastError | None = None


class RecordsPass:
    """The pass over all records."""

    def __init__(self, run: CollectorRun, survey: Survey) -> None:
        self._run = run
        self._survey = survey
        self._all = survey.old_data
        self._pages = Pages(run.store)
        self._retention = Retention(run, survey)
        self._learnt = None if run.dry else Learnt(run.store, self._pages, self._not_kept)

    def __call__(self) -> None:
        """Reads the records, and adds what they say to the survey."""
        for found in self._run.each(self._look, self._asked()):
            self._judge(found)
        self._retention.settle()
        if self._learnt:
            self._learnt.close()

    def _asked(self) -> Iterator[Asked]:
        run, survey = self._run, self._survey
        for (entry, name), markers in self._joined():
            if entry is None:
                self._retention.outlived(markers)
                if name is None:
                    continue
                survey.without_content += 1
                run.report.note(CollectedKind.HOLDS, Fate.WITHOUT_CONTENT)
                continue
            survey.records += 1
            run.report.note(CollectedKind.RECORDS, Fate.SEEN)
            if name is not None:
                run.report.note(CollectedKind.RECORDS, Fate.HELD)
            known = self._pages.find(entry.key)
            fits = known is not None and known.etag == entry.etag
            yield Asked(entry, name[1] if name else 0, known if fits else None, markers)

    def _joined(self) -> Iterator[tuple[ListedRecord, tuple[RetentionMarker, ...]]]:
        """Yields each record or held name, and its markers; the markers of neither, too."""
        entries, names = self._run.listed(RECORDS), self._survey.held.names.tallied()
        records = joined(entries, names, _key_of, itemgetter(0))
        for record, marked in joined(records, list_markers(self._run), _key_or_name, _marked_key):
            yield record or (None, None), marked.markers if marked else ()

    def _look(self, asked: Asked) -> FoundRecord:
        known, key = asked.known, asked.entry.key
        if known and known.believed:
            return FoundRecord(asked, known, asked.entry.last_modified)
        # Records that may be condemned are read: nothing else would pardon them.
        if known and known.state is not State.CONDEMNED and asked.held and not self._all:
            return FoundRecord(asked, known, read=False)
        try:
            seen = self._run.records.read(record_digest(key))
        except (DataLoss, UnsupportedFormat) as error:
            return FoundRecord(asked, None, error=error)
        if seen is None:
            return FoundRecord(asked, None)
        if not seen.record.data_key:
            return FoundRecord(asked, None, seen.last_modified, damaged=seen.etag)
        fresh = Known.of(key, seen)
        if known and known.line == fresh.line:
            fresh = replace(known, runs=known.runs + 1)
        return FoundRecord(asked, fresh, seen.last_modified)

    def _judge(self, found: FoundRecord) -> None:
        known = found.known
        if found.error:
            self._refused(found.error)
        elif found.damaged is not None:
            self._damaged(found, found.damaged)
        if known is None:
            return
        if self._learnt:
            self._learnt.add(known)
        if found.asked.held:
            self._retention.outlived(found.asked.markers)
            self._count(known, found.asked.holders)
        if found.read:
            self._protect(known, found.modified)
            if found.asked.held:
                self._held(found.asked.entry.key, known)
            else:
                self._unheld(found, known)

    def _count(self, held: Known, holders: int) -> None:
        if held.state in {State.LIVE, State.CONDEMNED}:
            self._survey.held_bytes += held.size
            self._survey.tenant_bytes += held.size * holders
            self._survey.held_blobs += 1

    def _refused(self, error: HoldfastError) -> None:
        run, survey = self._run, self._survey
        if isinstance(error, UnsupportedFormat):
            run.report.error("reading records", error)
            survey.unreadable += 1
            run.report.note(CollectedKind.RECORDS, Fate.UNREADABLE)
            return
        # Its name isn't a record's, so it matters only because it may name any data.
        if self._all:
            run.report.error("reading records", error)
        survey.strangers += 1
        run.report.note(CollectedKind.RECORDS, Fate.STRANGE)

    def _damaged(self, found: FoundRecord, etag: str) -> None:
        run, survey, key = self._run, self._survey, found.asked.entry.key
        run.report.error("reading records", DataLoss(f"record {key} is damaged"))
        survey.unreadable += 1
        if found.asked.held:
            run.report.note(CollectedKind.HOLDS, Fate.WITHOUT_CONTENT)
        else:
            self._bury(Candidate(key, etag), found.modified)

    def _protect(self, known: Known, modified: float) -> None:
        why = PLAIN
        if known.state is State.TOMBSTONE:
            why = READ_GRACE
            if self._age(modified) > self._run.ages.read_grace:
                return
        self._survey.protected.add(line_of(known.data_key, why))

    def _held(self, key: str, known: Known) -> None:
        if known.state is State.CONDEMNED:
            self._survey.pardon.add(Candidate(key, known.etag, known.size).encode())
        if known.state in {State.TOMBSTONE, State.CORRUPT}:
            self._run.report.note(CollectedKind.HOLDS, Fate.WITHOUT_CONTENT)
            self._survey.without_content += known.state is State.TOMBSTONE

    def _unheld(self, found: FoundRecord, known: Known) -> None:
        run, survey, modified = self._run, self._survey, found.modified
        candidate = Candidate(found.asked.entry.key, known.etag, known.size)
        if known.state is State.LIVE:
            self._retention.judge(candidate, modified, found.asked.markers)
        elif known.state is State.TOMBSTONE:
            self._retention.outlived(found.asked.markers)
            run.report.note(CollectedKind.RECORDS, Fate.TOMBSTONE)
            if known.believed and self._age(modified) > run.ages.data:
                survey.tombstones.add(line_of(known.data_key, candidate.encode().decode()))
        else:
            if known.state is State.CORRUPT:
                run.report.note(CollectedKind.RECORDS, Fate.CORRUPT)
            self._bury(candidate, modified)

    def _bury(self, candidate: Candidate, modified: float) -> None:
        run, survey = self._run, self._survey
        if self._age(modified) < run.ages.condemned:
            run.report.note(CollectedKind.RECORDS, Fate.YOUNG, candidate.size)
            return
        survey.taken += 1
        survey.bury.add(candidate.encode())

    def _age(self, modified: float) -> float:
        return self._run.store.now() - modified

    def _not_kept(self, error: Exception) -> None:
        self._run.report.error("keeping what is known of records", error)


def _key_or_name(record: ListedRecord) -> bytes:
    entry, name = record
    return entry.key.encode() if entry else name[0] if name else b""


def _marked_key(marked: MarkedRecord) -> bytes:
    return marked.key.encode()


def _key_of(entry: Entry) -> bytes:
    return entry.key.encode()
