"""The rooms of service are those that docs/architecture.md draws, on the floors that it draws."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Final

import pytest

from tests.project import pages
from tests.project.repository import ROOT, required_text

SERVICE: Final = ROOT / "service"
BELOW: Final = {"storage", "coordination", "transport"}
PAGE: Final = pages.text("docs/architecture.md")


def floors() -> list[set[str]]:
    """The floors that import-linter holds, the highest first."""
    project = tomllib.loads(required_text("pyproject.toml"))
    [layers] = (
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["holdfast.service"]
    )
    return [set(re.split(r"[ |]+", layer)) for layer in layers]


def rooms() -> set[str]:
    """The rooms and the modules beside them."""
    found = {path.parent.name for path in SERVICE.glob("*/__init__.py")}
    return found | {path.stem for path in SERVICE.glob("*.py")} - {"__init__"}


def test_the_picture_is_the_contract() -> None:
    """The picture has the floors that are enforced, in their order, and each room once."""
    [picture] = pages.blocks(pages.section(PAGE, "Rooms"), "")
    drawn = [set(re.split(r" · ", line.split("  ")[0])) for line in picture.splitlines()]
    assert drawn == floors()
    assert set().union(*drawn) == rooms()


@pytest.mark.parametrize("room", sorted(path.parent.name for path in SERVICE.glob("*/__init__.py")))
def test_a_room_says_what_it_may_import(room: str) -> None:
    """The sentence about what a room may import names what it imports, and nothing else."""
    text = (SERVICE / room / "__init__.py").read_text("utf-8")
    [sentence] = re.findall(r"This room may import ([^.;]+)", text)
    assert imported(room) == (rooms() | BELOW) & set(re.findall(r"\w+", sentence))


def imported(room: str) -> set[str]:
    """The rooms, and the packages below them, that a room's modules import."""
    ways = [
        f"{node.module}.{one.name}".split(".")
        for path in (SERVICE / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    ]
    within = {way[2] for way in ways if way[:2] == ["holdfast", "service"]}
    return (within | BELOW & {way[1] for way in ways if way[0] == "holdfast"}) - {room}


def test_the_ways_lead_through_files_that_are_there() -> None:
    """Each file that the walk from room to room names is there."""
    named = re.findall(r"`(\w+/\w+\.py)`", pages.section(PAGE, "From room to room"))
    assert len(named) > 15
    missing = [
        name for name in named if not ((SERVICE / name).is_file() or (ROOT / name).is_file())
    ]
    assert missing == []


OF_THE_STORE: Final = r"\bWorkers\b|\bworkers\.(store|bulk|send|patient)\b"
COMPOSING: Final = {"core.py", "doctor.py", "process/workers.py"}
"""These make the threads, and hand them to the room `store`."""


def test_only_one_room_has_threads_wait_for_the_store() -> None:
    """No room but `store` runs calls in the threads that wait for the store, or knows of them."""
    knowing = {
        str(path.relative_to(SERVICE))
        for path in SERVICE.rglob("*.py")
        if re.search(OF_THE_STORE, path.read_text("utf-8"))
    }
    assert knowing >= COMPOSING
    assert {name for name in knowing - COMPOSING if not name.startswith("store/")} == set()
