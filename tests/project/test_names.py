"""One name has one meaning: no two classes of the server are called alike."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.project.repository import ROOT

EXPLAINED: dict[str, str] = {}
"""Names that several classes have, and why."""
PACKAGES = ("coordination", "service", "storage")


def classes() -> dict[str, list[str]]:
    """The names of public classes, and the modules that define them."""
    found = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


def test_no_two_classes_have_one_name() -> None:
    """Whoever finds a class's name in an error or a search knows which class it is."""
    found = classes()
    assert len(found) > 200
    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert set(twice) == set(EXPLAINED), twice
