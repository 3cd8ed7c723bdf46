"""Draws a dashboard as SVG from what a Prometheus knows: a look at it without Grafana."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from scripts.dashboards.panels import WIDTH, Dashboard, Panel, grafana

CELL: Final = (60, 34)
"""Pixels of a cell of Grafana's grid."""
COLORS: Final = ("#3366cc", "#dc8f12", "#109618", "#b82e8c", "#0e8a93", "#a05a2c", "#666", "#d33")
STYLE: Final = (
    "text{font:11px sans-serif;fill:#333}.title{font-weight:bold;font-size:12px}"
    ".row{font-weight:bold;font-size:15px}.big{font-size:26px}.axis{fill:#777;font-size:9px}"
    ".panel{fill:#fff;stroke:#ddd}.grid{stroke:#eee}.line{fill:none;stroke-width:1.3}"
)
SCALES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
BINARY: Final = ((2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"), (1.0, ""))
NAMES: Final = {"s": "s", "bytes": "B", "Bps": "B/s", "ops": "/s"}


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its labels, and values by time, in s since 1970."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


Ask = Callable[[str], Sequence[Line]]


def picture(dashboard: Dashboard, ask: Ask) -> str:
    """Returns a dashboard as SVG.

    Args:
        dashboard: what is drawn, with all its instances.
        ask: returns the series of an expression, over the time that is drawn.
    """
    places = grafana(dashboard)["panels"]
    rows = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in places)
    width, height = WIDTH * CELL[0], rows * CELL[1]
    chosen = dashboard.labels
    for name in dashboard.variables:
        chosen = chosen.replace(f"${name}", ".+")

    def asked(expr: str) -> Sequence[Line]:
        return ask(expr.replace("$at", chosen).replace("$__rate_interval", "20s"))

    panels = iter([panel for row in dashboard.rows for panel in row.panels])
    parts = []
    for place in places:
        spot = place["gridPos"]
        left, top = spot["x"] * CELL[0], spot["y"] * CELL[1]
        if place["type"] == "row":
            text = escape(place["title"])
            parts.append(f'<text class="row" x="{left + 6}" y="{top + 24}">{text}</text>')
            continue
        size = spot["w"] * CELL[0] - 6, spot["h"] * CELL[1] - 6
        drawn = "".join(_panel(next(panels), size, asked))
        parts.append(f'<g transform="translate({left + 3},{top + 3})">{drawn}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
        f'<style>{STYLE}</style><rect width="{width}" height="{height}" fill="#f6f6f6"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _panel(panel: Panel, size: tuple[int, int], ask: Ask) -> Iterator[str]:
    width, height = size
    yield f'<rect class="panel" width="{width}" height="{height}" rx="3"/>'
    yield f'<text class="title" x="8" y="17">{escape(panel.title)}</text>'
    named = [
        (_name(query.legend, line.labels), line)
        for query in panel.queries
        for line in ask(query.expr)
    ]
    if panel.kind == "stat":
        shown = _amount(named[0][1].points[-1][1], panel.unit) if named else "no data"
        yield f'<text class="big" x="12" y="{height - 24}">{shown}</text>'
        return
    yield from _lines(panel, named, (width, height))


def _lines(panel: Panel, named: Sequence[tuple[str, Line]], size: tuple[int, int]) -> Iterator[str]:
    left, top, right, bottom = 58, 28, size[0] - 10, size[1] - 40
    points = [(at, value) for _, line in named for at, value in line.points if math.isfinite(value)]
    if not points:
        yield f'<text x="{left}" y="{(top + bottom) // 2}">no data</text>'
        return
    began, ended = min(at for at, _ in points), max(at for at, _ in points)
    most = max(value for _, value in points) * 1.1 or 1.0
    for part in range(4):
        y = bottom - (bottom - top) * part / 3
        text = _amount(most * part / 3, panel.unit)
        yield f'<path class="grid" d="M{left} {y:.0f}H{right}"/>'
        yield f'<text class="axis" x="{left - 4}" y="{y + 3:.0f}" text-anchor="end">{text}</text>'
    place = left
    for number, (name, line) in enumerate(named[:12]):
        color = COLORS[number % len(COLORS)]
        path = "L".join(
            f"{left + (right - left) * (at - began) / ((ended - began) or 1):.1f} "
            f"{bottom - (bottom - top) * value / most:.1f}"
            for at, value in line.points
            if math.isfinite(value)
        )
        if path:
            yield f'<path class="line" stroke="{color}" d="M{path}"/>'
        if place < right - 40:
            yield f'<rect x="{place}" y="{size[1] - 20}" width="8" height="8" fill="{color}"/>'
            yield f'<text x="{place + 11}" y="{size[1] - 12}">{escape(name)}</text>'
        place += 24 + 6 * len(name)


def _name(legend: str, labels: Mapping[str, str]) -> str:
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return legend


def _amount(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    scales = BINARY if unit in {"bytes", "Bps"} else SCALES
    scale, letter = next(((size, name) for size, name in scales if abs(value) >= size), (1.0, ""))
    return f"{value / scale:.3g} {letter}{NAMES.get(unit, '')}".strip()
