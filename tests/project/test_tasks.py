"""Tasks and reasons: each made in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.project.repository import ROOT

PACKAGES: Final = ("coordination", "holdfast", "service", "storage", "transport")
TASKS: Final = "holdfast/tasks.py"
BEGIN: Final = frozenset({"create_task", "ensure_future", "shield", "TaskGroup"})
"""What begins a task, or parts one from whoever waits for it."""
THREADS: Final = "run_in_executor"
"""Begins a future: it must be awaited where it is begun."""
WORDED: Final = "holdfast/errors.py"
REASONS: Final = frozenset({"reason", "error", "why", "found"})


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    """All modules of packages, by their paths."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


def begun(tree: ast.AST) -> Iterator[int]:
    """The lines in which a task is begun, or a future that isn't awaited there."""
    awaited = {
        id(node.value.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name in BEGIN or (name == THREADS and id(node) not in awaited):
            yield node.lineno


class Unworded(ast.NodeVisitor):
    """Finds exceptions that are put into words by `str`, or straight into a text."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self._caught = ["error"]

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Remembers how an exception is called, as long as it is."""
        self._caught.append(node.name or "")
        self.generic_visit(node)
        self._caught.pop()

    def visit_Compare(self, node: ast.Compare) -> None:
        """What is compared isn't told."""

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        """A part of a text; `!r` always says something."""
        if node.conversion == -1 and self._exception(node.value):
            self.lines.append(node.lineno)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`str(error)`, but where a pattern looks through it; and `reason=str(…)`."""
        if isinstance(node.func, ast.Attribute) and node.func.attr == "search":
            return
        reasons = [word.value for word in node.keywords if word.arg in REASONS]
        if _is_str(node) and self._exception(node.args[0]):
            self.lines.append(node.lineno)
        self.lines += [
            value.lineno for value in reasons if isinstance(value, ast.Call) and _is_str(value)
        ]
        self.generic_visit(node)

    def _exception(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self._caught


def _is_str(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "str" and len(node.args) == 1


def test_tasks_are_begun_in_one_place() -> None:
    """A task is begun where its failure is seen to, so that none is left unheard."""
    found = [
        f"{path}:{line}"
        for path, tree in sources(*PACKAGES)
        if path != TASKS
        for line in begun(tree)
    ]
    assert found == [], f"use {TASKS}, or service/process/background.py"


def test_reasons_are_worded_in_one_place() -> None:
    """An exception is worded by `because`, which never says nothing."""
    found = []
    for path, tree in sources(*PACKAGES):
        if path == WORDED:
            continue
        visitor = Unworded()
        visitor.visit(tree)
        found += [f"{path}:{line}" for line in visitor.lines]
    assert found == [], f"use because() of {WORDED}"


@pytest.mark.parametrize(
    "line",
    [
        "asyncio.create_task(work())",
        "asyncio.ensure_future(work())",
        "await asyncio.shield(work())",
        "future = loop.run_in_executor(None, call)",
        "partial(loop.run_in_executor, None)",
    ],
)
def test_a_task_is_found(line: str) -> None:
    """Each way to begin one is found."""
    tree = ast.parse(f"async def work():\n    {line}")
    assert list(begun(tree))


@pytest.mark.parametrize(
    "line", ["log.info('no', reason=str(wrong))", "raise A(f'no ({wrong})')", "told = str(wrong)"]
)
def test_a_reason_is_found(line: str) -> None:
    """Each way to word an exception is found."""
    visitor = Unworded()
    visitor.visit(ast.parse(f"try:\n    pass\nexcept OSError as wrong:\n    {line}"))
    assert visitor.lines


def test_the_packages_are_there() -> None:
    """What is looked through isn't empty."""
    assert all(Path(ROOT / package / "__init__.py").is_file() for package in PACKAGES)
