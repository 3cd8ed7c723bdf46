"""The chart's dashboards are those that scripts/dashboards writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml

from scripts.dashboards.all import DASHBOARDS, FOLDER, text
from scripts.dashboards.panels import WIDTH, grafana
from tests.project import pages
from tests.project.repository import ROOT

ROWS: Final = re.compile(
    r"^\| `(\w+)` \| (\w+)(?: by ((?:`\w+`(?:, )?)+))?[^|]* \| (\w+) \|", re.MULTILINE
)
"""A metric in the table of metrics: its name, its kind, its labels, and who has it."""
SCRAPED: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds."""
HISTOGRAM: Final = re.compile("_(bucket|count|sum)$")


def metrics() -> dict[str, tuple[frozenset[str], str]]:
    """The labels of each metric, and who has it: `frontend`, `agent` or `both`."""
    found = ROWS.findall(pages.text("docs/operations.md"))
    return {
        name: (
            frozenset(re.findall(r"\w+", labels)) | ({"le"} if kind == "histogram" else set()),
            of,
        )
        for name, kind, labels, of in found
    }


def expressions() -> Iterator[str]:
    """All queries of dashboards and alerts."""
    for dashboard in DASHBOARDS:
        yield from dashboard.queries
    document = yaml.safe_load((ROOT / "helm/holdfast/monitoring/rules.yaml").read_text("utf-8"))
    yield from (rule["expr"] for rule in document["groups"][0]["rules"])


def test_queries_ask_for_labels_that_are_there() -> None:
    """A label that a metric doesn't have would leave a panel empty, or an alert silent."""
    known, wrong, seen = metrics(), set[tuple[str, str]](), 0
    for expression in expressions():
        names = set(re.findall(r"\bholdfast_[a-z_]+", expression))
        asked = {HISTOGRAM.sub("", name) if name not in known else name for name in names}
        asked &= known.keys()
        by = set(re.findall(r"\w+", ",".join(re.findall(r"\bby \(([^)]*)\)", expression))))
        made = set(re.findall(r'label_replace\(.*?, "(\w+)"', expression))
        for name in asked:
            wrong |= {(name, label) for label in by - made - SCRAPED - known[name][0]}
            for selector in re.findall(rf"{name}\w*\{{([^}}]*)\}}", expression):
                labels = set(re.findall(r"(\w+)(?:=|!)", selector))
                wrong |= {(name, label) for label in labels - SCRAPED - known[name][0]}
            seen += 1
    assert wrong == set()
    assert seen > 100


def test_dashboards_show_only_what_they_are_about() -> None:
    """Their variables take the instances of frontends, or of agents, and "All" is all of these."""
    known = metrics()
    for dashboard in DASHBOARDS:
        of = "agent" if dashboard.name == "node" else "frontend"
        assert known[dashboard.seen_by][1] == of, dashboard.title
        for variable in grafana(dashboard)["templating"]["list"]:
            assert "allValue" not in variable, dashboard.title


def test_the_files_are_current() -> None:
    """Each dashboard's file is what `make dashboards` would write, and there is no other."""
    found = {path.stem: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert found == {one.name: text(one) for one in DASHBOARDS}, "run `make dashboards`"


def test_panels_have_places_of_their_own() -> None:
    """No panel lies on another one or beyond the grid, and each says how to read it."""
    for dashboard in DASHBOARDS:
        taken = set[tuple[int, int]]()
        for panel in grafana(dashboard)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= WIDTH, panel["title"]
            assert panel["type"] == "row" or panel["description"], panel["title"]
            taken |= cells


def test_a_panel_is_narrowed_down() -> None:
    """All queries of a dashboard heed the variables at its top."""
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                for query in panel.queries:
                    assert "$at" in query.expr, f"{dashboard.title}: {panel.title}"
