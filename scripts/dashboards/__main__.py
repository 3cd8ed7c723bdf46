"""Writes the dashboards into the chart: `make dashboards`."""

from __future__ import annotations

from scripts.dashboards.all import DASHBOARDS, FOLDER, text


def main() -> None:
    """Writes each dashboard, and removes those that are no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(text(dashboard), "utf-8")


if __name__ == "__main__":
    main()
