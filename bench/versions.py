"""Two versions of the project in turns: has a change made anything slower?

Both serve from the same MinIO and Redis and get the same loads, one after the other, every other
round in reverse order. What is compared is the rate and, steadier than a rate, the frontend's CPU
per unit of work.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.compare.pairs import Ran, interleave
from bench.compare.peers import Peers, Program, drive
from bench.profile.run import LOADS

LEAST: Final = 0.97
"""The rate of the new version compared with the old one's, below which it counts as slower."""
OLD: Final = "old"
NEW: Final = "new"


@dataclass(frozen=True, slots=True)
class Row:
    """One load. Rates are in units of work per second; CPU is the frontend's, in ms per unit."""

    load: str
    unit: str
    old: Sequence[Ran]
    new: Sequence[Ran]

    @property
    def ratios(self) -> list[float]:
        """The new rate divided by the old one, for each round."""
        return [new.figure / old.figure for new, old in zip(self.new, self.old, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)

    @property
    def cpu(self) -> tuple[float, float]:
        """The frontend's CPU, old and new: medians."""
        old, new = (
            statistics.median(ran.cpu.get("frontend", 0.0) for ran in runs)
            for runs in (self.old, self.new)
        )
        return old, new


@dataclass(frozen=True, slots=True)
class Result:
    """A row for each load."""

    rows: Sequence[Row]

    @property
    def within_limits(self) -> bool:
        """Whether nothing got slower."""
        return all(row.ratio >= LEAST for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            row.load: {
                "unit": row.unit,
                "ratio": row.ratio,
                "ratios": row.ratios,
                "cpu_ms": dict(zip((OLD, NEW), row.cpu, strict=True)),
            }
            for row in self.rows
        }

    def text(self) -> str:
        """For people."""
        lines = [f"{'':16}{'new / old':>10}{'spread':>16}{'CPU old':>10}{'new':>10}  ms per"]
        for row in self.rows:
            spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}"
            old, new = row.cpu
            slower = "" if row.ratio >= LEAST else "  slower"
            lines.append(
                f"{row.load:16}{row.ratio:10.2f}{spread:>16}{old:10.3f}{new:10.3f}  "
                f"{row.unit}{slower}"
            )
        return "\n".join(lines)


def run(
    old: Path, new: Path, loads: Sequence[str], rounds: int, settings: Mapping[str, object]
) -> Result:
    """Measures, load by load.

    Args:
        old: the folder of one version.
        new: that of the other one, which may be the same one.
        loads: names of `bench.profile.run.LOADS`; by default all.
        rounds: counted runs of each.
        settings: of the new version's frontend alone.
    """
    with tempfile.TemporaryDirectory(prefix="hf-versions-") as folder:
        return Result(
            [
                _row(Path(folder), name, {OLD: (old, {}), NEW: (new, settings)}, rounds)
                for name in loads or LOADS
            ]
        )


def _row(
    folder: Path, name: str, trees: Mapping[str, tuple[Path, Mapping[str, object]]], rounds: int
) -> Row:
    unit, size, act = LOADS[name]
    root = folder / name
    root.mkdir()
    with Peers(root) as peers:
        frontends = {
            which: peers.frontend(Program(tree=tree.resolve()), **settings)
            for which, (tree, settings) in trees.items()
        }
        digest = ""
        if size:
            address = frontends[OLD].address
            digest = drive("write", address=address, size=size)["digests"][0]
        runs = interleave(
            rounds,
            {
                which: partial(lambda address: act(address, digest).ran, frontend.address)
                for which, frontend in frontends.items()
            },
        )
    return Row(name, unit, runs[OLD], runs[NEW])
