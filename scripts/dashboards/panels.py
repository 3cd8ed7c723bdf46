"""Dashboards as they are written here, and as Grafana reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["timeseries", "stat", "table"]
Unit = Literal["short", "s", "bytes", "Bps", "ops", "percentunit", "dateTimeAsIso", "none"]

WIDTH: Final = 24
"""Columns of Grafana's grid."""
SCHEMA: Final = 39
"""The version of Grafana's format (Grafana 11)."""
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """A line, or several, of a panel.

    Attributes:
        expr: PromQL; `$at` stands for the dashboard's labels.
        legend: the name of each line, with labels in double braces.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: what it shows.
        help: how to read it: what is usual, and what isn't.
        queries: its lines.
        unit: of its values.
        kind: how it is drawn.
        width: its columns.
        stacked: whether lines are added to each other.
    """

    title: str
    help: str
    queries: Sequence[Query]
    unit: Unit = "short"
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False

    @property
    def height(self) -> int:
        """Its rows."""
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that answer one question."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels.

    Attributes:
        name: of its file, and in its address.
        title: as people see it.
        help: who looks at it, and when.
        labels: selectors that stand for `$at`.
        variables: labels by which it can be narrowed down.
        seen_by: the metric whose labels the variables take.
        rows: what it shows, the most important first.
    """

    name: str
    title: str
    help: str
    labels: str
    variables: Sequence[str]
    seen_by: str
    rows: Sequence[Row]

    @property
    def queries(self) -> Iterator[str]:
        """PromQL of all panels, without variables."""
        for row in self.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield query.expr.replace("$at", "").replace("$__rate_interval", "5m")


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """Returns a dashboard in Grafana's format."""
    return {
        "uid": f"holdfast-{dashboard.name}",
        "title": f"Holdfast / {dashboard.title}",
        "description": dashboard.help,
        "tags": ["holdfast"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables(dashboard))},
        "links": [
            {
                "type": "dashboards",
                "tags": ["holdfast"],
                "title": "Holdfast",
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "panels": list(_panels(dashboard)),
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    earlier = ""
    for name in dashboard.variables:
        query = f"label_values({dashboard.seen_by}{{{earlier}}}, {name})"
        yield {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            # "All" is all of these, and not all that Prometheus scrapes.
            "includeAll": True,
            "multi": True,
            "refresh": 2,
            "sort": 1,
            "current": {"text": "All", "value": "$__all"},
        }
        earlier += f'{"," if earlier else ""}{name}=~"${name}"'


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in dashboard.rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            "panels": [],
        }
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _panel(panel, number, place, dashboard.labels)
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int], labels: str) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": query.expr.replace("$at", labels),
            "legendFormat": query.legend or "__auto",
            "instant": panel.kind == "table",
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        return {
            "colorMode": "none",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {"showHeader": True}
