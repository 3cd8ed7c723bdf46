"""Records that no hold names: one run condemns them, another buries them.

    pardon    a condemned record that the survey's listing of holds names → live again; otherwise
              a listing that left a hold out would count for ever as the first of two
    condemn   a live record older than the grace that the survey's listing doesn't name
              → condemned
    bury      a record that an earlier run condemned long enough ago, and that the survey's
              listing doesn't name either; then all holds are listed **again**:
              held → live again; not held → tombstone, if the record is still as it was read

A live record is never made a tombstone directly, and the first listing never serves as the second
one: either would lose content. If an operation makes a hold that the second listing misses, the
operation reads the record after it made the hold. Then it either finds the record condemned, and
its pardon changes the ETag, or it finds a tombstone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from holdfast.errors import UnsupportedFormat
from holdfast.service.collector.brakes import BrakeReason, Tripped, shorter
from holdfast.service.collector.holds import ListedHolds, list_holds
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Candidate
from holdfast.storage.keys import data_key, record_digest
from holdfast.storage.records import LostRace, Record, Seen, State
from holdfast.storage.spool import Spool, joined


def pardon(run: CollectorRun, condemned: Spool) -> None:
    """Makes condemned records that a hold names live again."""

    def make_live(candidate: Candidate) -> None:
        seen = as_read(run, candidate)
        if seen is None or seen.record.state is not State.CONDEMNED:
            run.report.note(CollectedKind.RECORDS, Fate.RACED)
            return
        try:
            if not run.dry:
                run.records.write(seen.record.turned(State.LIVE, run.new_nonce()), seen)
        except LostRace:
            run.report.note(CollectedKind.RECORDS, Fate.RACED)
        else:
            run.report.note(CollectedKind.RECORDS, Fate.PARDONED, seen.record.size)

    run.do(make_live, map(Candidate.decode, condemned.sorted()))


class Condemnation:
    """The first pass, which condemns records."""

    def __init__(self, run: CollectorRun) -> None:
        self._run = run

    def __call__(self, condemn: Spool, bury: Spool) -> None:
        """Condemns records; adds those that may be buried at once to `bury`."""
        for made in self._run.each(self._condemn, map(Candidate.decode, condemn.sorted())):
            if made is not None and self._run.ages.condemned <= 0:
                bury.add(made.encode())

    def _condemn(self, candidate: Candidate) -> Candidate | None:
        run = self._run
        if not run.dry:
            seen = as_read(run, candidate)
            condemned = self._write(seen) if seen and seen.record.state is State.LIVE else None
            if condemned is None:
                run.report.note(CollectedKind.RECORDS, Fate.RACED)
                return None
            candidate = replace(candidate, etag=condemned.etag)
        run.report.note(CollectedKind.RECORDS, Fate.CONDEMNED, candidate.size, _named(candidate))
        return candidate

    def _write(self, seen: Seen) -> Seen | None:
        condemned = seen.record.turned(State.CONDEMNED, self._run.new_nonce())
        try:
            return self._run.records.write(condemned, seen)
        except LostRace:
            return None


class Burial:
    """The second pass, which buries condemned records."""

    def __init__(self, run: CollectorRun) -> None:
        self._run = run

    def __call__(self, candidates: Spool, first: ListedHolds) -> None:
        """Buries or pardons candidates, after listing all holds again.

        Args:
            candidates: the records as they were read in the survey.
            first: the listing of holds that didn't name them.

        Raises:
            Braked: the new listing is much shorter than the first.
        """
        run = self._run
        if next(candidates.sorted(), None) is None:
            return
        held = list_holds(run, count=False)
        if shorter(held.listed, first.listed, run.limits.second_left, run.limits.few):
            found = f"{held.listed:,} holds are listed, and {first.listed:,} were a moment before"
            run.stop_for([Tripped(BrakeReason.HOLDS, found)])
        run.do(self._settle, self._paired(candidates, held.names))

    def _paired(self, candidates: Spool, held: Spool) -> Iterator[tuple[Candidate, bool]]:
        read = map(Candidate.decode, candidates.sorted())
        for candidate, name in joined(read, held.sorted(), lambda c: c.key.encode(), bytes):
            if candidate is not None:
                yield candidate, name is not None

    def _settle(self, pair: tuple[Candidate, bool]) -> None:
        run, (candidate, held) = self._run, pair
        seen = as_read(run, candidate)
        # In a rehearsal, the record is still live, because nothing was condemned.
        if seen is None or (seen.record.state is State.LIVE and not run.dry):
            run.report.note(CollectedKind.RECORDS, Fate.RACED)
            return
        if held and seen.record.state is State.CORRUPT:
            return  # the next commit of the same content heals it
        record = seen.record.turned(State.LIVE if held else State.TOMBSTONE, run.new_nonce())
        try:
            if not run.dry:
                run.records.write(self._with_data(record), seen)
        except LostRace:
            run.report.note(CollectedKind.RECORDS, Fate.RACED)
        else:
            fate = Fate.PARDONED if held else Fate.BURIED
            run.report.note(CollectedKind.RECORDS, fate, seen.record.size, _named(candidate))

    def _with_data(self, record: Record) -> Record:
        """Returns the record; if it couldn't be read, makes it name data that never existed."""
        return (
            record if record.data_key else replace(record, data_key=data_key(self._run.new_name()))
        )


def _named(candidate: Candidate) -> str:
    return str(record_digest(candidate.key))


def as_read(run: CollectorRun, candidate: Candidate) -> Seen | None:
    """Reads a record; None if it has changed since the survey."""
    try:
        seen = run.records.read(record_digest(candidate.key))
    except UnsupportedFormat:
        return None  # a newer version has rewritten it
    return seen if seen and seen.etag == candidate.etag else None
