"""What a run of the collector removed and what it kept, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from holdfast.errors import because, shorten
from holdfast.service.collector.brakes import Tripped
from holdfast.storage.run_reports import FleetCensus, RunReport

Taken = Callable[["CollectedKind", "Fate", int, str], None]
"""Called with each thing that a run removes: its kind, its fate, its bytes, its name."""

MAX_ERRORS: Final = 20
"""Errors that are reported one by one; further ones are only counted."""


class CollectedKind(StrEnum):
    """The kinds of things that the collector looks at."""

    HOLDS = "holds"
    RECORDS = "records"
    DATA = "data"
    TAILS = "tails"
    UPLOADS = "uploads"
    SNAPSHOTS = "snapshots"
    MARKERS = "markers"
    INGESTS = "ingests"
    TENANTS = "tenants"


class Fate(StrEnum):
    """What became of a thing, with the table's text for it."""

    SEEN = "seen", "seen"
    MARKED = "marked", "seen with a delete under way"
    STRANGE = "strange", "left: not ours by its name"
    WITHOUT_CONTENT = "without_content", "left: digests held without content to be had"
    UNMARKED = "unmarked", "done: marks of broken-off deletes removed"
    TAKEN_BACK = "taken_back", "done: broken-off deletes taken back"
    GIVEN_UP = "given_up", "done: digests given up for tenants that are gone"
    HELD = "held", "kept: held"
    RETAINED = "retained", "kept: held by nobody, and retained"
    EVICTED = "evicted", "seen: more than may be retained"
    YOUNG = "young", "kept: too young"
    NAMED = "named", "kept: named by a record"
    READ_GRACE = "read_grace", "kept: named by a tombstone that is too young"
    UNSURE = "unsure", "kept: a record couldn't be read that may name them"
    TOMBSTONE = "tombstone", "kept: tombstones"
    CORRUPT = "corrupt", "seen corrupt"
    UNREADABLE = "unreadable", "left: can't be read by this version"
    RACED = "raced", "left: changed by somebody else meanwhile"
    CONDEMNED = "condemned", "done: condemned"
    PARDONED = "pardoned", "done: pardoned"
    BURIED = "buried", "done: made a tombstone"
    DOOMED = "doomed", "kept: doomed, until another run finds them unnamed too"
    DELETED = "deleted", "done: deleted"
    REMOVED = "removed", "done: tombstones removed"
    ABORTED = "aborted", "done: aborted"
    MADE = "made", "done: made, for blobs that nobody holds any more"
    OUTLIVED = "outlived", "done: removed, being of no use any more"
    IN_USE = "in_use", "kept: in use"
    CARRIED_OUT = "carried_out", "done: frozen commits carried to their end"
    DROPPED = "dropped", "done: dropped"
    LEFT = "left", "done: taken out of the index"

    text: str

    @property
    def words(self) -> str:
        """The fate's name, for use in a sentence."""
        return self.value.replace("_", " ")

    def __new__(cls, value: str, text: str) -> Self:
        """Makes a member with its text."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


TAKEN: Final = frozenset(
    {Fate.GIVEN_UP, Fate.CONDEMNED, Fate.BURIED, Fate.DELETED, Fate.REMOVED, Fate.ABORTED}
    | {Fate.DROPPED}
)
"""The fates of things that somebody might miss afterwards."""


@dataclass(slots=True)
class Tally:
    """A number of things, and their bytes together."""

    count: int = 0
    bytes: int = 0


@dataclass
class CollectionReport:
    """The counts of one run. Safe for many threads.

    If `dry_run`, the report says what would have been done. `taken` is called with each thing
    that is removed, or would be, one at a time. `retained_since` is when the first of the
    retained blobs was given up, in s since 1970 by the store's clock; None if none is retained.
    `census` is what the run has counted of the fleet; None if it didn't come so far.
    """

    dry_run: bool
    doing: str = ""
    taken: Taken = lambda _kind, _fate, _size, _name: None
    errors: list[str] = field(default_factory=list)
    error_count: int = 0
    brakes: list[Tripped] = field(default_factory=list)
    ages: dict[str, float] = field(default_factory=dict)
    retained_since: float | None = None
    census: FleetCensus | None = None
    _tallies: dict[tuple[CollectedKind, Fate], Tally] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: CollectedKind, fate: Fate, size: int = 0, name: str = "") -> None:
        """Counts one thing of `size` bytes; `name` is for people, if the thing is removed."""
        with self._lock:
            tally = self._tallies.setdefault((kind, fate), Tally())
            tally.count += 1
            tally.bytes += size
            if fate in TAKEN:
                self.taken(kind, fate, size, name)

    def retain(self, size: int, since: float) -> None:
        """Counts a blob of `size` bytes that nobody holds since `since`, and that is retained."""
        self.note(CollectedKind.RECORDS, Fate.RETAINED, size)
        with self._lock:
            self.retained_since = min(since, self.retained_since or since)

    def error(self, what: str, error: Exception) -> None:
        """Records what went wrong; the run continues with what doesn't depend on it."""
        with self._lock:
            self.error_count += 1
            if len(self.errors) < MAX_ERRORS:
                self.errors.append(shorten_line(f"{what}: {because(error)}"))

    def trip(self, tripped: Tripped) -> None:
        """Records a brake that was tripped; if it isn't accepted, it is an error, too."""
        with self._lock:
            self.brakes.append(tripped)
            if not tripped.accepted:
                self.error_count += 1
                self.errors.insert(0, shorten_line(f"brake {tripped.brake}: {tripped}"))

    @property
    def braked(self) -> bool:
        """Whether a brake was tripped and not accepted."""
        return any(not tripped.accepted for tripped in self.brakes)

    def tally(self, kind: CollectedKind, fate: Fate) -> Tally:
        """Returns how many things of a kind had this fate, and their bytes."""
        return self._tallies.get((kind, fate), Tally())

    def count(self, kind: CollectedKind, fate: Fate) -> int:
        """Returns how many things of a kind had this fate."""
        return self.tally(kind, fate).count

    @property
    def freed(self) -> int:
        """Bytes of the objects that were deleted; they don't include parts of aborted uploads."""
        return sum(
            tally.bytes for (_, fate), tally in self._tallies.items() if fate is Fate.DELETED
        )

    @property
    def next_frees(self) -> int:
        """Bytes that the next run frees, if it finds them unnamed too and is late enough."""
        return self.tally(CollectedKind.DATA, Fate.DOOMED).bytes

    def run_report(self, seconds: float) -> RunReport:
        """Returns what is kept in the store of a run that took so long; it counts data objects."""
        found = self.tally(CollectedKind.DATA, Fate.SEEN)
        freed = self.tally(CollectedKind.DATA, Fate.DELETED)
        return RunReport(
            seconds=seconds,
            ok=self.ok,
            found=found.count,
            freed=freed.count,
            freed_bytes=freed.bytes,
            kept=max(0, found.count - freed.count),
            errors=self.error_count,
            census=self.census,
        )

    @property
    def ok(self) -> bool:
        """Whether everything was done without an error."""
        return self.error_count == 0

    def rows(self) -> Iterator[tuple[CollectedKind, Fate, Tally]]:
        """Yields all counts, in the order in which kinds and fates are defined."""
        for kind in CollectedKind:
            for fate in Fate:
                if (kind, fate) in self._tallies:
                    yield kind, fate, self._tallies[kind, fate]

    def as_json(self) -> dict[str, Any]:
        """Returns the report for JSON: counts and bytes by kind and fate."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for kind, fate, tally in self.rows():
            counts.setdefault(kind.value, {})[fate.value] = {
                "count": tally.count,
                "bytes": tally.bytes,
            }
        retained = self.tally(CollectedKind.RECORDS, Fate.RETAINED)
        return {
            "dry_run": self.dry_run,
            "ages": self.ages,
            "ok": self.ok,
            "freed_bytes": self.freed,
            "next_frees_bytes": self.next_frees,
            "retained": {
                "count": retained.count,
                "bytes": retained.bytes,
                "since": self.retained_since,
            },
            "counts": counts,
            "brakes": [tripped.as_json() for tripped in self.brakes],
            "errors": self.errors,
            "error_count": self.error_count,
        }


def shorten_line(text: str, limit: int = 500) -> str:
    """Returns an error's text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= limit else shorten(line, limit)
