"""`python -m bench capacity`: passes over a simulated fleet, and what fleets cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.capacity import tables
from bench.capacity.fleet import Fleet
from bench.capacity.passes import Passed, passes
from bench.capacity.retained import retaining

PAGE: Final = Path(__file__).parents[2] / "docs" / "capacity.md"
MOST_MEMORY: Final = 200 * 2**20
"""Bytes by which a pass may make the process grow."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the passes took, and the tables."""

    fleet: Fleet
    passed: list[Passed]

    @property
    def within_limits(self) -> bool:
        """Whether the formulas hold, and memory stayed bounded."""
        return all(p.as_expected and p.grown <= MOST_MEMORY for p in self.passed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tenants": self.fleet.tenants,
            "holds": self.fleet.holds,
            "blobs": self.fleet.blobs,
            "passes": {
                p.name: {
                    "requests": dict(p.counted.s3),
                    "as_expected": p.as_expected,
                    "received_bytes": p.received,
                    "seconds": round(p.seconds, 2),
                    "cpu_seconds": round(p.cpu, 2),
                    "grown_bytes": p.grown,
                }
                for p in self.passed
            },
        }

    def text(self) -> str:
        """For people."""
        head = (
            "| pass | S3 writes | S3 reads | MB read | seconds | of CPU | grown by, MiB "
            "| as computed |"
        )
        rows = [
            f"| {p.name} | {p.counted.writes:,} | {p.counted.reads:,} | {p.received / 1e6:,.1f} "
            f"| {p.seconds:.1f} | {p.cpu:.1f} | {p.grown / 2**20:.0f} "
            f"| {'yes' if p.as_expected else 'NO'} |"
            for p in self.passed
        ]
        return "\n".join([head, *rows, "", tables.loads(), "", tables.costs()])


def run(fleet: Fleet, *, retained: int, write_page: bool) -> Result:
    """Counts, and writes the page's tables anew if asked to.

    A collection of `retained` blobs that nobody holds follows one of a tenth of them, which shows
    whether its time grows as they do.
    """
    if write_page:
        PAGE.write_text(tables.rewritten(PAGE.read_text("utf-8")), "utf-8")
    passed = [*passes(fleet), retaining(retained // 10), retaining(retained)]
    return Result(fleet, passed)
