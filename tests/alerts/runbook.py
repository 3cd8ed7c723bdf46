"""What docs/alerts.md says of an alert: where it is seen, and the commands of its runbook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from scripts.dashboards.all import DASHBOARDS
from scripts.dashboards.panels import Dashboard, Panel
from tests.project import pages

RUNBOOKS: Final = "docs/alerts.md"
CONFIRM: Final = "How to confirm"
DO: Final = "What to do"
OVER: Final = "How to know that it is over"
PLACE: Final = re.compile(
    r"(?P<dashboards>[A-Z][\w ]*?), (?P<panels>“.*”)(?:, (?P<lines>`.*`))?: "
    r"(?P<way>rises|falls)(?P<missing>, or is missing)?\."
)
"""Where an alert is seen: dashboards, their panels, lines of these, and which way they go."""
WORDS: Final = re.compile(r"\b(?:FRONTEND|REDIS|DIGEST|REF|TENANT|FILE|FOLDER)\b")
"""What commands leave to their reader, as the page's table says."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an alert is seen.

    Attributes:
        panels: with their dashboards.
        lines: legends of these panels' lines, in which "…" stands for anything; none: all lines.
        rises: whether they rise while the fault lasts; else they fall.
        missing: whether they may be missing instead.
    """

    panels: tuple[tuple[Dashboard, Panel], ...]
    lines: tuple[str, ...]
    rises: bool
    missing: bool

    def has(self, legend: str) -> bool:
        """Whether a line of the panel is meant."""
        patterns = [re.escape(one).replace("…", ".+") for one in self.lines]
        return not patterns or any(re.fullmatch(one, legend) for one in patterns)


@dataclass(frozen=True, slots=True)
class Command:
    """A line of a runbook.

    Attributes:
        text: as it is written.
        ill: the exit code that it has during the fault; it has 0 without one.
    """

    text: str
    ill: int

    def filled(self, words: Mapping[str, str]) -> str:
        """Returns it with what it leaves to its reader."""
        return WORDS.sub(lambda found: words[found[0]], self.text)


def part(alert: str, name: str) -> str:
    """What is said of an alert under one of its points, with the commands below it."""
    section = pages.section(pages.text(RUNBOOKS), alert)
    [found] = re.findall(
        rf"^- \*\*{re.escape(name)}:\*\* (.*?)(?=^- \*\*|\Z)", section, re.MULTILINE | re.DOTALL
    )
    return str(found)


def commands(alert: str, name: str) -> list[Command]:
    """The commands under a point of an alert's runbook."""
    found = []
    for block in re.findall(r"^  ```sh\n(.*?)^  ```$", part(alert, name), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            text, _, remark = line.strip().partition("   # ")
            code = re.match(r"ends with (\d+) ", remark)
            assert bool(code) == bool(remark), line
            found.append(Command(text, int(code[1]) if code else 0))
    return found


def place(alert: str) -> Place:
    """Where an alert is seen."""
    text = part(alert, "Where to see it").strip()
    found = PLACE.fullmatch(text)
    assert found, text
    titles = found["dashboards"].split(" or ")
    names = re.findall("“(.*?)”", found["panels"])
    panels = [
        (dashboard, panel)
        for dashboard, panel in _all_panels()
        if dashboard.title in titles and panel.title in names
    ]
    assert len(panels) == len(titles) * len(names), text
    lines = tuple(re.findall("`(.*?)`", found["lines"] or ""))
    return Place(tuple(panels), lines, found["way"] == "rises", found["missing"] is not None)


def _all_panels() -> Iterator[tuple[Dashboard, Panel]]:
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                yield dashboard, panel
