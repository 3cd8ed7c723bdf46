"""The pages of the documentation, taken apart."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tests.project.repository import ROOT

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def pages() -> list[Path]:
    """README.md and everything below docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def text(name: str) -> str:
    """The text of a page."""
    return (ROOT / name).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language, those in lists as well."""
    return [body for found, body in fenced(page) if found == language]


def fenced(page: str) -> list[tuple[str, str]]:
    """The language of each fenced block, and the block as if it stood in no list."""
    return [(language, textwrap.dedent(body)) for _, language, body in _FENCE.findall(page)]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page)


def spans(page: str) -> list[str]:
    """What stands as code inside the prose, on one line each."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(page))]


def links(page: str) -> Iterator[tuple[str, str]]:
    """The links to other files or headings: a path, or "", and an anchor, or ""."""
    for target in _LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: str) -> set[str]:
    """What headings can be linked by, as GitHub makes it of them."""
    found = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        found.add(plain.replace(" ", "-"))
    return found


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    start = re.search(rf"^#+ {re.escape(heading)}$", page, re.MULTILINE)
    if start is None:
        raise LookupError(f"no heading {heading!r}")
    return re.split(r"^#+ ", page[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, its head included."""
    rows = re.findall(r"^\|(.+)\|$", section(page, heading), re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return [row for row in cells if set("".join(row)) != {"-"}]


def first_cells(page: str, heading: str) -> list[str]:
    """The first cells of the tables' rows under a heading, without backticks."""
    rows = re.findall(r"^\| (.+?) \|", section(page, heading), re.MULTILINE)
    return [row.replace("`", "") for row in rows]
