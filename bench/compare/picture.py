"""Each ratio beside its target, as SVG that reads on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from bench.compare.pairs import Measured, limits_of

ROW: Final = 44
TOP: Final = 64
LABELS: Final = 350
SCALE: Final = 390
WIDTH: Final = LABELS + SCALE + 150
MOST: Final = 2.0
"""Of a target: bars beyond are cut there, with an arrow."""
BAR: Final = 16

STYLE: Final = """
svg { --page: #ffffff; --text: #1f2328; --soft: #59636e; --good: #1a7f52; --short: #bc4c00;
      --grid: #d1d9e0; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --text: #e6edf3; --soft: #9198a1; --good: #3fb97f; --short: #e2733d;
        --grid: #3d444d; }
}
.page { fill: var(--page); } text { fill: var(--text); } .soft { fill: var(--soft); }
.good { fill: var(--good); } .short { fill: var(--short); }
.grid { stroke: var(--grid); } .target { stroke: var(--text); stroke-width: 2; }
.limit { fill: var(--page); stroke: var(--text); stroke-width: 1.5; }
"""


def draw(rows: Sequence[Measured]) -> str:
    """Every row that has a target, as a share of it; what limits it, as a diamond."""
    targets = [row for row in rows if row.target.ratio is not None]
    height = TOP + ROW * len(targets) + 12
    bars = "".join(_row(TOP + ROW * number, row, rows) for number, row in enumerate(targets))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="13" role="img">'
        f"<title>Holdfast beside its peers</title><style>{STYLE}</style>"
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>'
        f"{_head(height)}{bars}{_line(1.0, height, 'target')}</svg>\n"
    )


def _head(height: int) -> str:
    shares = (0.5, 1.5)
    lines = "".join(_line(share, height, "grid") for share in shares)
    named = "".join(
        f'<text class="soft" x="{_x(share):.0f}" y="{TOP - 12}" text-anchor="middle" '
        f'font-size="11">{share:g} of it</text>'
        for share in shares
    )
    return (
        f'{lines}{named}<text x="16" y="26" font-size="15" font-weight="600">'
        "Holdfast beside its peers, against the target</text>"
        f'<text x="{_x(1.0):.0f}" y="{TOP - 12}" text-anchor="middle" font-weight="600">target'
        f'</text>{_diamond(22, 47)}<text class="soft" x="34" y="51" font-size="11">'
        "what can be reached in Python, or over S3</text>"
    )


def _row(y: int, row: Measured, rows: Sequence[Measured]) -> str:
    target = row.target
    share = _share(row, row)
    shown, middle = min(share, MOST), y + 4 + BAR / 2
    arrow = " →" if share > MOST else ""
    bound = "≥" if target.bound == "at least" else "≤"
    limits = "".join(
        _diamond(_x(min(_share(row, limit), MOST)), middle) for limit in limits_of(row, rows)
    )
    return (
        f'<g><text x="{LABELS - 14}" y="{y + 13}" text-anchor="end">{escape(target.name)}</text>'
        f'<text class="soft" x="{LABELS - 14}" y="{y + 28}" text-anchor="end" font-size="11">'
        f"beside {escape(target.peer)}</text>"
        f'<rect class="{"good" if row.reached else "short"}" x="{LABELS}" y="{y + 4}" rx="2" '
        f'width="{max(shown * SCALE / MOST, 1):.0f}" height="{BAR}"/>{limits}'
        f'<text x="{LABELS + SCALE + 12}" y="{y + 16}"><tspan font-weight="600">{row.ratio:.2f}x'
        f'</tspan><tspan class="soft" font-size="11"> of {bound} {target.ratio:g}x{arrow}</tspan>'
        "</text></g>"
    )


def _share(row: Measured, shown: Measured) -> float:
    """How much of the target a ratio reaches; 1 is all of it, whichever way it is bounded."""
    ratio = row.target.ratio or 1.0
    if row.target.bound == "at least":
        return shown.ratio / ratio
    return ratio / shown.ratio if shown.ratio else MOST


def _x(share: float) -> float:
    return LABELS + share * SCALE / MOST


def _line(share: float, height: int, kind: str) -> str:
    x = _x(share)
    return f'<line class="{kind}" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 6}" y2="{height - 10}"/>'


def _diamond(x: float, y: float) -> str:
    return (
        f'<path class="limit" d="M{x:.0f} {y - 6:.0f}l6 6l-6 6l-6 -6z">'
        "<title>what can be reached</title></path>"
    )
