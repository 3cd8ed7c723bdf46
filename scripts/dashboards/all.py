"""Which dashboards there are, and where they are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from scripts.dashboards.collector import COLLECTOR
from scripts.dashboards.fleet import FLEET
from scripts.dashboards.frontend import FRONTEND
from scripts.dashboards.node import NODE
from scripts.dashboards.panels import Dashboard, grafana

FOLDER: Final = Path(__file__).parents[2] / "helm/holdfast/monitoring/dashboards"
DASHBOARDS: Final = (FLEET, FRONTEND, NODE, COLLECTOR)


def text(dashboard: Dashboard) -> str:
    """Returns the file of a dashboard."""
    return json.dumps(grafana(dashboard), indent=2, ensure_ascii=False) + "\n"
