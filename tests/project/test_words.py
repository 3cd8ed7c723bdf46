"""Words that CONTRIBUTING.md replaces are in no page, and in no text of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.project import pages
from tests.project.repository import ROOT

PACKAGES: Final = ("coordination", "holdfast", "service", "storage", "transport")
REPLACED: Final = re.compile(
    r"\b((go|goes|going|went) on(?! to)|carr(y|ies|ied|ying) on|turn(s|ed)? away|gives? back|"
    r"speaks? against|by now|thrice|twins?|is glad|are glad)\b",
    re.IGNORECASE,
)
"""For each there is a verb of the field, or a plainer word."""
RULES: Final = "CONTRIBUTING.md"
"""Names these words, to say what to write instead."""


def found(text: str) -> list[str]:
    """The replaced words in a text, which may break between two of them."""
    return [match[0] for match in REPLACED.finditer(" ".join(text.split()))]


def written() -> Iterator[tuple[str, str]]:
    """All pages and all texts of the code, docstrings included, each with its place."""
    more = [ROOT / "CHANGELOG.md", *(ROOT / "changes").glob("*.md"), *ROOT.glob("helm/**/*.md")]
    for page in [*pages.pages(), *more]:
        yield str(page.relative_to(ROOT)), page.read_text("utf-8")
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def test_replaced_words_are_not_used() -> None:
    """No page, docstring, error text, log event or help uses a word that has a better one."""
    used = [f"{place}: {word}" for place, text in written() for word in found(text)]
    assert used == [], f"{RULES}, English, says what to write instead"


@pytest.mark.parametrize(
    "text", ["The scrub goes\non later.", "It is turned away.", "Its twin has the ETag by now."]
)
def test_a_replaced_word_is_found(text: str) -> None:
    """A replaced word is found across line breaks, too."""
    assert found(text)


def test_other_words_are_not_found() -> None:
    """A word that only resembles a replaced one is left alone."""
    assert found("It goes on to the next one by nowhere; the carrier is on.") == []
