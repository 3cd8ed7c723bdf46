"""What a scrub looked at, and what it found."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from holdfast.storage.run_reports import RunReport

MAX_FINDINGS: Final = 1000
"""Findings that are reported one by one; further ones are only counted, and logged."""


class DamageKind(StrEnum):
    """What can be wrong."""

    DATA_MISSING = "data_missing"
    DATA_SIZE = "data_size"
    BLOCK_SUM = "block_sum"
    DIGEST = "digest"
    RESTORED = "restored"
    """The record was marked corrupt before, and its bytes are good: nothing is wrong with it."""
    QUARANTINED = "quarantined"
    """The record was marked corrupt before, and isn't healed yet."""
    RECORD_DAMAGED = "record_damaged"
    RECORD_NEWER = "record_newer"
    NOT_A_RECORD = "not_a_record"
    HOLD_WITHOUT_CONTENT = "hold_without_content"
    HOLD_DAMAGED = "hold_damaged"
    HOLD_NEWER = "hold_newer"
    NOT_A_HOLD = "not_a_hold"


class ScrubAction(StrEnum):
    """What the scrub did about a finding."""

    MARKED = "marked_corrupt"
    WOULD_MARK = "would_be_marked_corrupt"
    HELD_BACK = "not_marked"
    """Too much was damaged: an operator must look into it first."""
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
        kind: what is wrong.
        digest: the blob's digest, or "" if the object's name has none.
        key: the key of the data object, record or hold.
        action: what the scrub did.
        detail: what was expected and what was found, for people.
    """

    kind: DamageKind
    digest: str
    key: str
    action: ScrubAction
    detail: str


@dataclass(slots=True)
class Counts:
    """How much was looked at; bytes are those read from the store, including inline ones."""

    records: int = 0
    holds: int = 0
    bytes: int = 0
    misreads: int = 0
    """Damage that a second look didn't find again, so it arose on the way."""


@dataclass
class ScrubReport:
    """The report of one pass, including what earlier runs of it did. Safe for many threads.

    Attributes:
        started_at: when the pass began, in s since 1970.
        seconds: how long the pass took so far, without the pauses between runs.
        dry_run: whether nothing was written.
        shallow: whether no data was read.
        found: the number of findings by kind, including earlier runs of this pass.
        findings: this run's findings, up to a thousand.
        caches_late: whether frontends may still remember quarantined content.
        stopped: whether the run stopped before the end of the pass.
        brake: why nothing more is marked; "" if no brake was tripped.
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
        """Records a finding."""
        with self._lock:
            self.found[finding.kind] = self.found.get(finding.kind, 0) + 1
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with anything that was looked at."""
        return not self.brake and not self.found.keys() - {DamageKind.RESTORED}

    @property
    def told(self) -> bool:
        """Whether the store keeps a report of it.

        A shallow pass that has found nothing doesn't take the place of one that has read the data:
        it knows nothing of the damage that this has found, and doesn't do its work.
        """
        return not self.dry_run and not (self.shallow and self.well)

    def run_report(self) -> RunReport:
        """Returns what is kept in the store of this pass; it counts records."""
        wrong = sum(count for kind, count in self.found.items() if kind != DamageKind.RESTORED)
        return RunReport(
            seconds=self.seconds,
            ok=self.well and not self.stopped,
            found=self.counts.records,
            freed=0,
            freed_bytes=0,
            kept=max(0, self.counts.records - wrong),
            errors=wrong + bool(self.brake),
        )

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.counts.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def untold(self) -> int:
        """How many findings are counted but aren't in `findings`."""
        return sum(self.found.values()) - len(self.findings)

    def as_json(self) -> Mapping[str, Any]:
        """Returns the report for JSON."""
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
