"""What was measured, as a table, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from bench.compare.pairs import Measured

ROW: Final = 30
LABELS: Final = 460
SCALE: Final = 340
WIDTH: Final = LABELS + SCALE + 90
MOST: Final = 3.0
"""Of a target: bars beyond are cut there, and say how long they'd be."""
GOOD, SHORT, MARK = "#2a7f62", "#b5533c", "#444444"


@dataclass(frozen=True)
class Report:
    """All pairs of one run."""

    measured: Sequence[Measured]

    @property
    def within_limits(self) -> bool:
        """Whether every target is reached."""
        return all(one.reached for one in self.measured)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"pairs": [one.as_dict() for one in self.measured], "reached": self.within_limits}

    def text(self) -> str:
        """For people: a table in Markdown, and what fell short."""
        lines = [
            "| work | beside | target | measured | spread | ours | theirs | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *map(_row, self.measured),
        ]
        short = [one for one in self.measured if not one.reached]
        lines += ["", "Every target is reached." if not short else "Short of the target:"]
        lines += [f"- {one.target.name}, beside {one.target.peer}: {_of(one)}" for one in short]
        return "\n".join(lines)

    def picture(self) -> str:
        """Each ratio as a share of its target, as SVG: at the line it is reached."""
        height = ROW * (len(self.measured) + 2)
        line = LABELS + SCALE / MOST
        rows = "".join(_bar(number, one) for number, one in enumerate(self.measured, start=1))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="13">'
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
            f'<text x="{line}" y="18" text-anchor="middle" fill="{MARK}">target</text>{rows}'
            f'<line x1="{line}" x2="{line}" y1="24" y2="{height - ROW // 2}" stroke="{MARK}" '
            'stroke-dasharray="4 3"/></svg>\n'
        )


def _row(one: Measured) -> str:
    target = one.target
    ratios = sorted(one.ratios)
    return (
        f"| {target.name} | {target.peer} | {target.bound} {target.ratio:g}x | "
        f"**{one.ratio:.2f}x** | {ratios[0]:.2f} to {ratios[-1]:.2f} | "
        f"{_middle(one.ours):.4g} {target.unit} | {_middle(one.theirs):.4g} {target.unit} | "
        f"{'reached' if one.reached else 'short'} |"
    )


def _of(one: Measured) -> str:
    return f"{one.ratio:.2f}x instead of {one.target.bound} {one.target.ratio:g}x"


def _middle(figures: Sequence[float]) -> float:
    return sorted(figures)[len(figures) // 2]


def _bar(number: int, one: Measured) -> str:
    share = one.ratio / one.target.ratio
    if one.target.bound == "at most":
        share = 1 / share if share else MOST
    y = ROW * number
    length = min(share, MOST) / MOST * SCALE
    label = f"{one.target.name} / {one.target.peer}"
    return (
        f'<text x="{LABELS - 10}" y="{y + 18}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{LABELS}" y="{y + 5}" width="{length:.0f}" height="{ROW - 12}" '
        f'fill="{GOOD if one.reached else SHORT}"/>'
        f'<text x="{LABELS + length + 6:.0f}" y="{y + 18}">{one.ratio:.2f}x</text>'
    )
