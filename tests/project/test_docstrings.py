"""Tests read as a specification."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.repository import ROOT

MODULES = sorted((ROOT / "tests").rglob("test_*.py"))


def problems(source: str) -> Iterator[str]:
    """What keeps a module's tests from reading as sentences."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            text = ast.get_docstring(node)
            if text is None:
                yield f"{node.name} has no docstring"
            elif not text.endswith("."):
                yield f"{node.name}: {text!r} doesn't end like a sentence"
            elif "\n\n" in text or ". " in text.replace("e.g. ", "").replace("i.e. ", ""):
                yield f"{node.name}: {text!r} is more than one sentence"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_each_test_is_a_sentence(module: Path) -> None:
    """Every test has a docstring of one sentence."""
    assert list(problems(module.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("1", "no docstring"),
        ("'''Blobs stay'''", "end like a sentence"),
        ("'''Blobs stay. Holds go.'''", "more than one"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_is_no_sentence_is_found(kind: str, body: str, problem: str) -> None:
    """A missing, an unfinished and a doubled sentence are each found."""
    [found] = problems(f"class A:\n    {kind} test_a(self):\n        {body}\n")
    assert problem in found
