"""A table in a page of Markdown that is made from code, between prose that is the page's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write(page: Path, table: Sequence[str]) -> None:
    """Replaces the table in a page.

    Args:
        page: where it stands.
        table: its new lines, of which the first one is the header that it has.

    Raises:
        ValueError: the page has no table with this header, or more than one.
    """
    before, _, after = parted(page, table[0])
    page.write_text("\n".join([*before, *table, *after]) + "\n", "utf-8")


def shown(page: Path, header: str) -> list[str]:
    """The lines of the table with this header, as they stand in a page.

    Raises:
        ValueError: the page has no such table, or more than one.
    """
    return parted(page, header)[1]


def parted(page: Path, header: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before, of and after the table with this header.

    Raises:
        ValueError: the page has no such table, or more than one.
    """
    lines = page.read_text("utf-8").splitlines()
    if lines.count(header) != 1:
        raise ValueError(f"{page} must have exactly one line {header!r}")
    first = lines.index(header)
    rest = lines[first:]
    length = next((at for at, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return lines[:first], rest[:length], rest[length:]
