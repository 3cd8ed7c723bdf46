"""What a run of the collector did, kept and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from holdfast.errors import because, shorten
from holdfast.service.collector.brakes import Tripped

Taken = Callable[["Kind", "Fate", int, str], None]
"""Called with what a run takes: its kind, what becomes of it, its bytes, its name."""

MAX_ERRORS: Final = 20
"""Errors told one by one; the rest is only counted."""


class Kind(StrEnum):
    """What the collector looks at."""

    HOLDS = "holds"
    RECORDS = "records"
    DATA = "data"
    TAILS = "tails"
    UPLOADS = "uploads"
    SNAPSHOTS = "snapshots"
    INGESTS = "ingests"
    TENANTS = "tenants"


class Fate(StrEnum):
    """What became of it, with what the table says of each."""

    SEEN = "seen", "seen"
    MARKED = "marked", "seen with a delete under way"
    STRANGE = "strange", "left: not ours by its name"
    WITHOUT_CONTENT = "without_content", "left: digests held without content to be had"
    UNMARKED = "unmarked", "done: marks of broken-off deletes removed"
    TAKEN_BACK = "taken_back", "done: broken-off deletes taken back"
    GIVEN_UP = "given_up", "done: digests given up for tenants that are gone"
    HELD = "held", "kept: held"
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
    IN_USE = "in_use", "kept: in use"
    CARRIED_OUT = "carried_out", "done: frozen commits carried to their end"
    DROPPED = "dropped", "done: dropped"
    LEFT = "left", "done: taken out of the index"

    text: str

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.value.replace("_", " ")

    def __new__(cls, value: str, text: str) -> Self:
        """A member with its text."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.text = text
        return member


TAKEN: Final = frozenset(
    {Fate.GIVEN_UP, Fate.CONDEMNED, Fate.BURIED, Fate.DELETED, Fate.REMOVED, Fate.ABORTED}
    | {Fate.DROPPED}
)
"""What somebody might miss that meets one of these."""


@dataclass(slots=True)
class Tally:
    """How many, and how many bytes they have."""

    count: int = 0
    bytes: int = 0


@dataclass
class Report:
    """Counts of one run. Safe for many threads.

    `dry_run`: all that is said to be done is only what would have been done.
    `taken`: called with each thing that is taken, or would be, one at a time.
    """

    dry_run: bool
    doing: str = ""
    taken: Taken = lambda _kind, _fate, _size, _name: None
    errors: list[str] = field(default_factory=list)
    error_count: int = 0
    brakes: list[Tripped] = field(default_factory=list)
    ages: dict[str, float] = field(default_factory=dict)
    _tallies: dict[tuple[Kind, Fate], Tally] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: Kind, fate: Fate, size: int = 0, name: str = "") -> None:
        """Counts one thing of `size` bytes; `name` is what people know what is taken by."""
        with self._lock:
            tally = self._tallies.setdefault((kind, fate), Tally())
            tally.count += 1
            tally.bytes += size
            if fate in TAKEN:
                self.taken(kind, fate, size, name)

    def error(self, what: str, error: Exception) -> None:
        """Takes down what went wrong; the run goes on with what doesn't need it."""
        with self._lock:
            self.error_count += 1
            if len(self.errors) < MAX_ERRORS:
                self.errors.append(shorten_line(f"{what}: {because(error)}"))

    def trip(self, tripped: Tripped) -> None:
        """Takes down a brake; one that isn't accepted is an error, too."""
        with self._lock:
            self.brakes.append(tripped)
            if not tripped.accepted:
                self.error_count += 1
                self.errors.insert(0, shorten_line(f"brake {tripped.brake}: {tripped}"))

    @property
    def braked(self) -> bool:
        """Whether a brake was tripped that nobody has accepted."""
        return any(not tripped.accepted for tripped in self.brakes)

    def count(self, kind: Kind, fate: Fate) -> int:
        """How many had this fate."""
        tally = self._tallies.get((kind, fate))
        return tally.count if tally else 0

    @property
    def freed(self) -> int:
        """Bytes of the objects that were deleted; parts of uploads have no known size."""
        return sum(
            tally.bytes for (_, fate), tally in self._tallies.items() if fate is Fate.DELETED
        )

    @property
    def ok(self) -> bool:
        """Whether all was done that was to be done."""
        return self.error_count == 0

    def rows(self) -> Iterator[tuple[Kind, Fate, Tally]]:
        """All that was counted, in the order in which kinds and fates are defined."""
        for kind in Kind:
            for fate in Fate:
                if (kind, fate) in self._tallies:
                    yield kind, fate, self._tallies[kind, fate]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON: counts and bytes by kind and fate."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for kind, fate, tally in self.rows():
            counts.setdefault(kind.value, {})[fate.value] = {
                "count": tally.count,
                "bytes": tally.bytes,
            }
        return {
            "dry_run": self.dry_run,
            "ages": self.ages,
            "ok": self.ok,
            "freed_bytes": self.freed,
            "counts": counts,
            "brakes": [tripped.as_json() for tripped in self.brakes],
            "errors": self.errors,
            "error_count": self.error_count,
        }


def shorten_line(text: str, limit: int = 500) -> str:
    """An error's text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= limit else shorten(line, limit)
