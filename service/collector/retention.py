"""Retention: what nobody holds is kept for a while, since somebody may soon want it again.

    no hold, no marker                  a marker is made: the blob is retained from now on
    no hold, its marker is young        retained
    no hold, its marker is old, or the blob is beyond the bytes that may be retained, or
    somebody has dropped it             its record may be condemned
    a hold, or no blob any more         markers are removed

This decides only when condemning may begin. What is condemned is buried as ever: by another run,
after another listing of holds. So a marker that is wrong, lost or left over costs at most that a
blob which nobody holds goes too early or too late.

If bytes are bounded, the blobs are sorted by the time since which nobody holds them, on disk as
all else that a run sorts. Those given up last are kept, up to the first that doesn't fit; that one
and all before it go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Self

from holdfast.errors import DataLoss, OutcomeUnknown
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Candidate, Survey
from holdfast.storage.keys import RETAINED, record_digest
from holdfast.storage.port import ConditionFailed, IfAbsent
from holdfast.storage.retained import RetentionMarker
from holdfast.storage.spool import halves, line_of

FAR: Final = 10**15
"""A time in ms since 1970 that is later than all others, so that differences from it sort the
latest first."""
NEW: Final = "new"
OLD: Final = "old"


@dataclass(frozen=True, slots=True)
class MarkedRecord:
    """The markers of one digest, and the key of its record."""

    key: str
    markers: tuple[RetentionMarker, ...]


def list_markers(run: CollectorRun) -> Iterator[MarkedRecord]:
    """Yields all markers by their records, in the order of records."""
    for key, group in groupby(_listed(run), key=lambda marker: marker.record):
        yield MarkedRecord(key, tuple(group))


def _listed(run: CollectorRun) -> Iterator[RetentionMarker]:
    for entry in run.listed(RETAINED):
        try:
            marker = RetentionMarker.of(entry)
        except DataLoss:
            run.report.note(CollectedKind.MARKERS, Fate.STRANGE)
            continue
        run.report.note(CollectedKind.MARKERS, Fate.SEEN)
        yield marker


@dataclass(frozen=True, slots=True)
class Unheld:
    """A live record that nobody holds since `since`, in s; `new` if it has no marker yet."""

    candidate: Candidate
    since: float
    new: bool

    def encode(self) -> bytes:
        """Returns a line that sorts by the time, the latest first, then by the key."""
        state = NEW if self.new else OLD
        rest = f"{state} {self.since!r} {self.candidate.encode().decode()}"
        return line_of(f"{FAR - round(self.since * 1000):016}", rest)

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Parses a line of `encode`."""
        state, since, candidate = halves(line)[1].split(" ", 2)
        return cls(Candidate.decode(candidate.encode()), float(since), state == NEW)


class Retention:
    """Decides which blobs are retained. For one thread."""

    def __init__(self, run: CollectorRun, survey: Survey) -> None:
        self._run = run
        self._survey = survey
        self._by_age = run.spools.new()

    def outlived(self, markers: tuple[RetentionMarker, ...]) -> None:
        """Adds markers that are of no use any more: the blob is held, or gone."""
        for marker in markers:
            self._survey.outlived.add(marker.key.encode())

    def judge(
        self, candidate: Candidate, modified: float, markers: tuple[RetentionMarker, ...]
    ) -> None:
        """Decides on a live record that no hold names.

        Args:
            candidate: the record.
            modified: when it was written, in s by the store's clock.
            markers: its digest's.
        """
        valid = [marker for marker in markers if _says(marker, candidate, modified)]
        self.outlived(tuple(marker for marker in markers if marker not in valid))
        made = [marker.at for marker in valid if not marker.dropped]
        # Whoever has written the record after that has relied on it since.
        since = max(*made, modified) if made else self._survey.began
        if len(made) < len(valid) or self._too_old(since) or self._too_large(candidate.size):
            self._condemn(candidate)
            return
        unheld = Unheld(candidate, since, not made)
        if self._run.retain_bytes:
            self._by_age.add(unheld.encode())
        else:
            self._keep(unheld)

    def settle(self) -> None:
        """Decides what is beyond the bytes that may be retained; call it after all records."""
        total = 0
        for unheld in map(Unheld.decode, self._by_age.sorted()):
            total += unheld.candidate.size
            if total > self._run.retain_bytes:
                self._run.report.note(CollectedKind.RECORDS, Fate.EVICTED, unheld.candidate.size)
                self._condemn(unheld.candidate)
            else:
                self._keep(unheld)

    def _too_old(self, since: float) -> bool:
        longest = self._run.ages.retain
        return longest <= 0 or self._survey.began - since >= longest

    def _too_large(self, size: int) -> bool:
        return 0 < self._run.retain_bytes < size

    def _keep(self, unheld: Unheld) -> None:
        candidate = unheld.candidate
        self._run.report.retain(candidate.size, unheld.since)
        if unheld.new:
            digest = record_digest(candidate.key)
            marker = RetentionMarker(digest, candidate.size, unheld.since)
            self._survey.given_up.add(marker.key.encode())

    def _condemn(self, candidate: Candidate) -> None:
        self._survey.taken += 1
        self._survey.condemn.add(candidate.encode())


def _says(marker: RetentionMarker, candidate: Candidate, modified: float) -> bool:
    """Whether a marker is of this blob; a request to drop it must be newer than the record."""
    return marker.size == candidate.size and not (marker.dropped and marker.at < modified)


def tend_markers(run: CollectorRun, survey: Survey) -> None:
    """Makes the markers of what was given up, and removes those that are of no use any more.

    A marker that was made meanwhile, or that a listing has omitted, is kept with its time.

    Raises:
        ResourceExhausted: the store is full; what has no marker is retained all the same.
    """

    def remove(key: bytes) -> None:
        if not run.dry:
            run.store.delete(key.decode())
        run.report.note(CollectedKind.MARKERS, Fate.OUTLIVED)

    def make(key: bytes) -> None:
        try:
            if not run.dry:
                run.store.put(key.decode(), b"", IfAbsent())
        except (ConditionFailed, OutcomeUnknown):
            run.report.note(CollectedKind.MARKERS, Fate.RACED)
        else:
            run.report.note(CollectedKind.MARKERS, Fate.MADE)

    run.do(remove, survey.outlived.sorted())
    run.do(make, survey.given_up.sorted())
