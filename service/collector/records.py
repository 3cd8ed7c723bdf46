"""Records that no hold names: condemned in one pass, buried in the next.

    condemn   a listing of all holds, then the records that it doesn't name:
              live and older than the grace → condemned
    bury      a new listing of all holds, begun after the last of those was read:
              held → live again; not held → tombstone, if the record is still as read

Live is never made a tombstone, and the first listing is never used a second time:
both lose content. An operation that makes a hold after the second listing has passed
its place reads the record after it, finds it condemned, and its pardon changes the
ETag, or finds a tombstone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat
from service.collector.report import Fate, Kind
from service.collector.run import Run
from storage.keys import (
    DELETING,
    HOLDS,
    RECORDS,
    data_key,
    hold_digest,
    proper,
    record_digest,
    record_key,
)
from storage.port import Entry
from storage.records import LostRace, Record, Seen, State
from storage.spool import Spool, halves, joined, line_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record to bury, as it was read before the second listing of holds began."""

    key: str
    etag: str

    def encode(self) -> bytes:
        """A line that sorts by the key."""
        return line_of(self.key, self.etag)

    @classmethod
    def decode(cls, line: bytes) -> Candidate:
        """Reads what `encode` wrote."""
        return cls(*halves(line))


def list_holds(run: Run, marks: Spool | None = None, *, count: bool) -> Spool:
    """The keys of all records that a hold names, from one listing of all holds.

    A mark beside a hold counts as one: the delete that made it may not have come
    to the hold itself.

    Args:
        run: of which this is part.
        marks: takes the marks that are older than a request can still land.
        count: whether the report counts what is listed.
    """
    held = run.spools.new()
    for entry in run.watched(run.store.list(HOLDS)):
        digest = _digest_of(entry.key)
        if digest is None:
            if count:
                run.report.note(Kind.HOLDS, Fate.STRANGE)
            continue
        held.add(record_key(digest).encode())
        marked = entry.key.endswith(DELETING)
        if count:
            run.report.note(Kind.HOLDS, Fate.MARKED if marked else Fate.SEEN)
        if marks is not None and marked:
            if run.store.now() - entry.last_modified > run.ages.landing:
                marks.add(entry.key.encode())
            elif count:
                run.report.note(Kind.HOLDS, Fate.YOUNG)
    return held


class Condemnation:
    """The first pass."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, held: Spool) -> Spool:
        """Condemns what `held`, a listing made before, doesn't name; returns all candidates."""
        run, candidates = self._run, self._run.spools.new()
        for found in run.each(self._look, self._unheld(held)):
            if found is not None:
                candidates.add(found.encode())
        return candidates

    def _unheld(self, held: Spool) -> Iterator[str]:
        run = self._run
        entries = run.store.list(RECORDS)
        for entry, name in joined(entries, held.sorted(), _key_of, bytes):
            if entry is None:
                run.report.note(Kind.HOLDS, Fate.WITHOUT_CONTENT)
                continue
            run.report.note(Kind.RECORDS, Fate.SEEN)
            if name is not None:
                run.report.note(Kind.RECORDS, Fate.HELD)
            else:
                yield entry.key

    def _look(self, key: str) -> Candidate | None:
        run = self._run
        try:
            seen = run.records.read(record_digest(key))
        except DataLoss:
            # The pass over data tells of it, and deletes nothing because of it.
            run.report.note(Kind.RECORDS, Fate.STRANGE)
            return None
        except UnsupportedFormat as error:
            run.report.note(Kind.RECORDS, Fate.UNREADABLE)
            run.report.error("reading records", error)
            return None
        return self._judge(key, seen) if seen else None

    def _judge(self, key: str, seen: Seen) -> Candidate | None:
        run, state = self._run, seen.record.state
        if state is State.TOMBSTONE:
            run.report.note(Kind.RECORDS, Fate.TOMBSTONE)
            return None
        if state is not State.LIVE:
            if state is State.CORRUPT:
                run.report.note(Kind.RECORDS, Fate.CORRUPT)
            return Candidate(key, seen.etag)
        if run.store.now() - seen.last_modified < run.ages.grace:
            run.report.note(Kind.RECORDS, Fate.YOUNG, seen.record.size)
            return None
        return self._condemn(key, seen)

    def _condemn(self, key: str, seen: Seen) -> Candidate | None:
        run = self._run
        if not run.dry:
            condemned = seen.record.turned(State.CONDEMNED, run.new_nonce())
            try:
                seen = run.records.write(condemned, seen)
            except LostRace:
                run.report.note(Kind.RECORDS, Fate.RACED)
                return None
        run.report.note(Kind.RECORDS, Fate.CONDEMNED, seen.record.size)
        return Candidate(key, seen.etag)


class Burial:
    """The second pass."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, candidates: Spool) -> None:
        """Buries or pardons candidates, by a listing of all holds that it makes itself."""
        if next(candidates.sorted(), None) is None:
            return
        held = list_holds(self._run, count=False)
        self._run.do(self._settle, self._paired(candidates, held))

    def _paired(self, candidates: Spool, held: Spool) -> Iterator[tuple[Candidate, bool]]:
        read = map(Candidate.decode, candidates.sorted())
        for candidate, name in joined(read, held.sorted(), lambda c: c.key.encode(), bytes):
            if candidate is not None:
                yield candidate, name is not None

    def _settle(self, pair: tuple[Candidate, bool]) -> None:
        run, (candidate, held) = self._run, pair
        seen = self._as_read(candidate)
        if seen is None:
            run.report.note(Kind.RECORDS, Fate.RACED)
            return
        if held and seen.record.state is State.CORRUPT:
            return  # whoever holds it, or has the bytes, heals it
        record = seen.record.turned(State.LIVE if held else State.TOMBSTONE, run.new_nonce())
        try:
            if not run.dry:
                run.records.write(self._with_data(record), seen)
        except LostRace:
            run.report.note(Kind.RECORDS, Fate.RACED)
        else:
            fate = Fate.PARDONED if held else Fate.BURIED
            run.report.note(Kind.RECORDS, fate, seen.record.size)

    def _as_read(self, candidate: Candidate) -> Seen | None:
        """The record, if it is still what it was before the listing began."""
        try:
            seen = self._run.records.read(record_digest(candidate.key))
        except UnsupportedFormat:
            return None  # a newer version has it now
        if seen is None or seen.etag != candidate.etag:
            return None
        # A rehearsal has condemned nothing.
        return seen if self._run.dry or seen.record.state is not State.LIVE else None

    def _with_data(self, record: Record) -> Record:
        """A record that couldn't be read names no data; its tombstone names what never was."""
        return (
            record if record.data_key else replace(record, data_key=data_key(self._run.new_name()))
        )


def _digest_of(key: str) -> Digest | None:
    try:
        return hold_digest(key) if proper(key) else None
    except DataLoss:
        return None


def _key_of(entry: Entry) -> bytes:
    return entry.key.encode()
