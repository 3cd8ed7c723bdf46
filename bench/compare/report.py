"""What was measured: kept as JSON after each pair, told as a table and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.compare.pairs import Measured, limits_of
from bench.compare.picture import draw

NAME: Final = "compare"
"""Of the files."""


@dataclass(frozen=True, slots=True)
class Begun:
    """When and where a run began.

    Attributes:
        at: UTC, ISO 8601.
        rounds: counted runs of each pair.
        revision: of the tree that ran, as git describes it.
        machine: cores, system and Python.
    """

    at: str
    rounds: int
    revision: str
    machine: str

    def __str__(self) -> str:
        return f"{self.at}, {self.rounds} rounds, revision {self.revision}, {self.machine}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair's rows, and which of the runs they come from."""

    run: Begun
    rows: tuple[Measured, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Pairs by name, of one run or of several."""

    pairs: Mapping[str, Pair] = field(default_factory=dict)

    @property
    def runs(self) -> list[Begun]:
        """The runs that rows come from, the oldest first."""
        return sorted({pair.run for pair in self.pairs.values()}, key=lambda run: run.at)

    @property
    def rows(self) -> list[Measured]:
        """Of all pairs."""
        return [row for pair in self.pairs.values() for row in pair.rows]

    @property
    def within_limits(self) -> bool:
        """Whether every target is reached."""
        return all(row.reached for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pairs": {
                name: {"run": asdict(pair.run), "rows": [row.as_dict() for row in pair.rows]}
                for name, pair in self.pairs.items()
            },
            "reached": self.within_limits,
        }

    def save(self, folder: Path) -> None:
        """Writes JSON and picture; what was there stays until the new is whole."""
        folder.mkdir(exist_ok=True)
        _write(folder / f"{NAME}.json", json.dumps(self.as_dict(), indent=2) + "\n")
        _write(folder / f"{NAME}.svg", draw(self.rows))

    @classmethod
    def load(cls, folder: Path) -> Report:
        """What was saved, or an empty one.

        Raises:
            SystemExit: what is there is of another version of this program.
        """
        path = folder / f"{NAME}.json"
        if not path.exists():
            return cls()
        try:
            found = json.loads(path.read_text("utf-8"))["pairs"]
            return cls({name: _pair(pair) for name, pair in found.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SystemExit(
                f"{path} can't be added to: {error!r}. Move it away, or leave --add out"
            ) from error

    def text(self) -> str:
        """For people: tables in Markdown, and what fell short."""
        rows = list(_numbered(self))
        targets = [(run, row) for run, row in rows if row.target.ratio is not None]
        others = [(run, row) for run, row in rows if row.target.ratio is None]
        several = len(self.runs) > 1
        lines = [*_table(targets, TARGET_HEAD, _target, several=several), ""]
        if others:
            lines += ["Not targets, but limits, and what else is worth a look:", ""]
            lines += [*_table(others, OTHER_HEAD, _other, several=several), ""]
        lines += [*_cpu(self.rows), *_short(self.rows), ""]
        if several:
            lines += ["**Rows of different runs, which can't be compared with each other:**", ""]
        lines += [f"{number}. {run}" for number, run in enumerate(self.runs, start=1)]
        return "\n".join(lines)


TARGET_HEAD: Final = (
    "| work | compared with | target | measured | spread | Holdfast | the other | |"
)
OTHER_HEAD: Final = "| work | whose | compared with | measured | spread | its figure | the other |"

NOTHING: Final = 0.0005
"""Milliseconds that aren't worth a word."""

_Row = tuple[int, Measured]


def _pair(found: Mapping[str, Any]) -> Pair:
    return Pair(Begun(**found["run"]), tuple(map(Measured.from_dict, found["rows"])))


def _write(path: Path, text: str) -> None:
    whole = path.with_name(f".{path.name}.new")
    whole.write_text(text, "utf-8")
    whole.replace(path)


def _numbered(report: Report) -> Iterator[_Row]:
    numbers = {run: number for number, run in enumerate(report.runs, start=1)}
    for pair in report.pairs.values():
        yield from ((numbers[pair.run], row) for row in pair.rows)


def _table(
    rows: Sequence[_Row], head: str, tell: Callable[[Measured], str], *, several: bool
) -> list[str]:
    """With a column that names the run, where there are several."""
    lines = [head, "| " + " | ".join(["---"] * (head.count("|") - 1)) + " |"]
    lines += [tell(row) for _, row in rows]
    if several:
        ends = [" run |", " --- |", *(f" {run} |" for run, _ in rows)]
        lines = [line + end for line, end in zip(lines, ends, strict=True)]
    return lines


def _target(row: Measured) -> str:
    target = row.target
    return (
        f"| {target.name} | {target.peer} | {target.bound} {target.ratio:g}x | "
        f"**{row.ratio:.2f}x** | {_figures(row)} | {'reached' if row.reached else 'short'} |"
    )


def _other(row: Measured) -> str:
    target = row.target
    return f"| {target.name} | {target.ours} | {target.peer} | {row.ratio:.2f}x | {_figures(row)} |"


def _figures(row: Measured) -> str:
    ratios, unit = sorted(row.ratios), row.target.unit
    return (
        f"{ratios[0]:.2f} to {ratios[-1]:.2f} | {median(row.ours):,.4g} {unit} | "
        f"{median(row.theirs):,.4g} {unit}"
    )


def _short(rows: Sequence[Measured]) -> list[str]:
    short = [row for row in rows if not row.reached]
    if not short:
        return ["Every target is reached."]
    return ["Short of the target:", *(_why(row, rows) for row in short)]


def _why(row: Measured, rows: Sequence[Measured]) -> str:
    """What fell short, with what its limits reach beside the same peer."""
    target = row.target
    line = (
        f"- {target.name}, beside {target.peer}: {row.ratio:.2f}x instead of {target.bound} "
        f"{target.ratio:g}x"
    )
    limits = [f"{one.target.ours} reaches {one.ratio:.2f}x" for one in limits_of(row, rows)]
    return line + "".join(f"; {limit}" for limit in limits)


def _cpu(rows: Sequence[Measured]) -> list[str]:
    """Milliseconds of CPU per unit of work, of Holdfast's runs and of those beside it."""
    told = dict.fromkeys(
        line
        for row in rows
        for who, cpu in ((row.target.ours, row.our_cpu), (row.target.peer, row.their_cpu))
        if (line := _cpu_line(row, who, cpu))
    )
    return ["CPU, milliseconds:", "", *told, ""] if told else []


def _cpu_line(row: Measured, who: str, cpu: Mapping[str, float]) -> str:
    shares = ", ".join(f"{name} {spent:.3g}" for name, spent in cpu.items() if spent >= NOTHING)
    per = row.target.unit.removesuffix("/s").removesuffix("s")
    return f"- {row.target.name}, {who}, per {per}: {shares}" if shares else ""
