"""What an expiry did, counted for its report in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.clocks import uptime
from holdfast.service.tenants.expiry import ExpiryOutcome, Verdict
from holdfast.storage.run_reports import RunReport


@dataclass(slots=True)
class ExpiryTally:
    """The verdicts of one run.

    Attributes:
        verdicts: how many tenants had each.
        finished: whether the run has come to its end.
        began: when it began, in s, never set back.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    finished: bool = False
    began: float = field(default_factory=uptime)

    def counting(self, tell: Callable[[ExpiryOutcome], None]) -> Callable[[ExpiryOutcome], None]:
        """Returns a function that counts an outcome, and tells of it."""

        def counted(outcome: ExpiryOutcome) -> None:
            self.verdicts[outcome.verdict] += 1
            tell(outcome)

        return counted

    def run_report(self) -> RunReport:
        """Returns what is kept in the store of this run; it counts tenants."""
        dropped, failed = self.verdicts[Verdict.DROPPED], self.verdicts[Verdict.FAILED]
        errors = failed + (not self.finished)
        return RunReport(
            seconds=uptime() - self.began,
            ok=not errors,
            found=self.verdicts.total(),
            freed=dropped,
            freed_bytes=0,
            kept=self.verdicts.total() - dropped - failed,
            errors=errors,
        )
