"""The chart's dashboards are those that scripts/dashboards writes."""

from __future__ import annotations

from scripts.dashboards.all import DASHBOARDS, FOLDER, text
from scripts.dashboards.panels import WIDTH, grafana


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
