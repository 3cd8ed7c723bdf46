"""What a scrub looked at, and what it found."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_FINDINGS: Final = 1000
"""Findings told one by one; the rest is only counted, and logged."""


class Kind(StrEnum):
    """What can be wrong."""

    DATA_MISSING = "data_missing"
    DATA_SIZE = "data_size"
    BLOCK_SUM = "block_sum"
    DIGEST = "digest"
    RESTORED = "restored"
    """Marked corrupt before, and its bytes are good: all is well with it."""
    QUARANTINED = "quarantined"
    """Marked corrupt before, and not healed yet."""
    RECORD_DAMAGED = "record_damaged"
    RECORD_NEWER = "record_newer"
    NOT_A_RECORD = "not_a_record"
    HOLD_WITHOUT_CONTENT = "hold_without_content"
    HOLD_DAMAGED = "hold_damaged"
    HOLD_NEWER = "hold_newer"
    NOT_A_HOLD = "not_a_hold"


class Action(StrEnum):
    """What the scrub did about it."""

    MARKED = "marked_corrupt"
    WOULD_MARK = "would_be_marked_corrupt"
    HELD_BACK = "not_marked"
    """Too much was damaged: somebody is to look into it first."""
    RESTORED = "made_live_again"
    WOULD_RESTORE = "would_be_made_live_again"
    CORRUPT_ALREADY = "corrupt_already"
    REPORTED = "reported"
    LEFT = "changed_meanwhile"
    """The record kept changing under the scrub; the next pass looks again."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what.
        digest: of the blob, or "" where the object's name says none.
        key: the data object, record or hold that it was found at.
        action: what was done.
        detail: what was expected and found, for people.
    """

    kind: Kind
    digest: str
    key: str
    action: Action
    detail: str


@dataclass(slots=True)
class Counts:
    """How much was looked at; bytes as read from the store, inline ones included."""

    records: int = 0
    holds: int = 0
    bytes: int = 0
    misreads: int = 0
    """Damage that a second look didn't find again: it arose on the way."""


@dataclass
class Report:
    """One pass, what earlier runs did of it included. Safe for many threads.

    Attributes:
        started_at: of the pass, in s since 1970.
        seconds: that it took so far, without the pauses between runs.
        dry_run: nothing was written.
        shallow: no data was read.
        found: findings by kind, those of earlier runs of this pass too.
        findings: those of this run, the first thousand.
        caches_late: what frontends remember couldn't be made to be forgotten.
        stopped: the pass isn't through.
        brake: why nothing more is marked; "" where nothing stands against it.
    """

    started_at: float
    dry_run: bool = False
    shallow: bool = False
    seconds: float = 0.0
    counts: Counts = field(default_factory=Counts)
    found: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    resumed_after: str = ""
    caches_late: bool = False
    stopped: bool = False
    brake: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, records: int = 0, holds: int = 0, size: int = 0, misreads: int = 0) -> None:
        """Counts what was looked at."""
        with self._lock:
            self.counts.records += records
            self.counts.holds += holds
            self.counts.bytes += size
            self.counts.misreads += misreads

    def find(self, finding: Finding) -> None:
        """Takes down a finding."""
        with self._lock:
            self.found[finding.kind] = self.found.get(finding.kind, 0) + 1
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with what was looked at."""
        return not self.brake and not self.found.keys() - {Kind.RESTORED}

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.counts.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def untold(self) -> int:
        """Findings that are counted but not in `findings`."""
        return sum(self.found.values()) - len(self.findings)

    def as_json(self) -> Mapping[str, Any]:
        """For programs."""
        return {
            "well": self.well,
            "finished": not self.stopped,
            "brake": self.brake,
            "dry_run": self.dry_run,
            "shallow": self.shallow,
            "started_at": self.started_at,
            "resumed_after": self.resumed_after,
            "seconds": round(self.seconds, 3),
            "bytes_per_second": round(self.rate),
            **asdict(self.counts),
            "caches_late": self.caches_late,
            "found": dict(sorted(self.found.items())),
            "findings": [asdict(finding) for finding in self.findings],
            "findings_untold": self.untold,
        }
