"""One name has one meaning: no two classes of the server, client or transport are called alike."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from tests.project.repository import ROOT

EXPLAINED: dict[str, str] = {}
"""Names that several classes have, and why."""
PROGRAMS = {
    "server": ("coordination", "service", "storage"),
    "client": ("holdfast",),
    "transport": ("transport",),
}
"""The folders of each; whoever reads one needn't know of the others."""


def classes(packages: tuple[str, ...]) -> dict[str, list[str]]:
    """The names of public classes, and the modules that define them."""
    found = defaultdict(list)
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if any(folder.is_symlink() for folder in path.parents):
                continue  # another package, which `holdfast` links to
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize(("program", "least"), [("server", 200), ("client", 90), ("transport", 40)])
def test_no_two_classes_have_one_name(program: str, least: int) -> None:
    """Whoever finds a class's name in an error or a search knows which class it is."""
    found = classes(PROGRAMS[program])
    assert len(found) > least
    twice = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert set(twice) == set(EXPLAINED), twice
