"""Log events: each has one form, and stands in the documentation with its level and its fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from tests.project import pages
from tests.project.repository import ROOT

PACKAGES: Final = ("coordination", "holdfast", "service", "storage", "transport")
LEVELS: Final = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {
    "exception": "error"
}
"""Levels by the methods of a log."""
LONGEST: Final = 72
PROPER: Final = ("HTTP", "RPC", "Redis", "gRPC")
"""Words with which an event may begin although they have capitals."""
TRACE: Final = "exc_info"
"""Becomes the field `exception` of a line."""


class Event(NamedTuple):
    """One call of a log."""

    place: str
    level: str
    text: str | None
    fields: frozenset[str | None]

    def faults(self) -> list[str]:
        """What is wrong with its form."""
        text = self.text
        if text is None:
            return ["isn't a literal"]
        first = text.split(" ")[0].rstrip(";")
        found = {
            "doesn't begin with a lower-case letter": not text[:1].islower()
            and first not in PROPER,
            "begins with an article": first in {"a", "an", "the"},
            f"is longer than {LONGEST} characters": len(text) > LONGEST,
            "ends with a stop": text.endswith((".", "!", ":")),
            "says isn't or can't, where a verb would do": "n't" in text,
            "has fields without a name": None in self.fields,
        }
        return [fault for fault, there in found.items() if there]


def events(place: str, source: str) -> Iterator[Event]:
    """All calls of a log in a module."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=method)) if (
                method in LEVELS
            ):
                first = node.args[0] if len(node.args) == 1 else None
                literal = isinstance(first, ast.Constant) and isinstance(first.value, str)
                yield Event(
                    f"{place}:{node.lineno}",
                    LEVELS[method],
                    str(first.value) if literal and isinstance(first, ast.Constant) else None,
                    frozenset(word.arg for word in node.keywords),
                )


def logged() -> list[Event]:
    """All events of the program."""
    return [
        event
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for event in events(str(path.relative_to(ROOT)), path.read_text("utf-8"))
    ]


def documented() -> dict[str, str]:
    """The events in the table of logs, with their levels."""
    rows = pages.table(pages.text("docs/operations.md"), "Logs")[1:]
    return {event: row[1] for row in rows for event in re.findall(r"`([^`]+)`", row[0])}


def test_events_have_one_form() -> None:
    """An event is a literal: a component and what it did, in lower case, without a stop."""
    found = logged()
    assert len(found) > 50
    wrong = [
        f"{event.place}: {event.text!r} {fault}" for event in found for fault in event.faults()
    ]
    assert wrong == []


def test_events_are_documented() -> None:
    """The table has each event from level info up, with its level, and no other."""
    shown = {event.text: event.level for event in logged() if event.level != "debug"}
    assert documented() == shown


def test_fields_are_documented() -> None:
    """The table of fields has each field that an event has, and no other."""
    used = {"exception" if name == TRACE else name for event in logged() for name in event.fields}
    cells = [row[0] for row in pages.table(pages.text("docs/operations.md"), "Fields")[1:]]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == used


@pytest.mark.parametrize(
    "call",
    [
        "log.info(f'lease of {ref} lost')",
        "log.info('lease lost' if lost else 'lease kept')",
        "log.info('lease %s lost', ref)",
        "log.info('Lease lost')",
        "log.info('the lease was lost')",
        "log.info('lease lost.')",
        "log.info('lease isn\\'t there')",
        "log.info('lease lost', **fields)",
        f"log.info('lease {'lost ' * 20}')",
    ],
)
def test_another_form_is_found(call: str) -> None:
    """Each way to leave the form is noticed."""
    (event,) = events("here", call)
    assert event.faults()


def test_the_form() -> None:
    """What has the form isn't complained about."""
    (event,) = events("here", "log.warning('Redis lost; it is retried', reason=because(error))")
    assert event == Event("here:1", "warning", "Redis lost; it is retried", frozenset({"reason"}))
    assert event.faults() == []
