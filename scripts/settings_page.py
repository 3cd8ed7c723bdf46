"""Writes the table of docs/settings.md from service/settings.py: `make settings`.

The prose around the table is the page's own and stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from holdfast.service.commands.setting_texts import default, kind
from holdfast.service.settings import Settings

PAGE: Final = Path(__file__).parent.parent / "docs" / "settings.md"
HEADER: Final = "| name | value | default | what it does |"
RULE: Final = "| --- | --- | --- | --- |"


def main() -> None:
    """Replaces the table in the page.

    Raises:
        ValueError: the page has no table, or more than one.
    """
    before, after = prose(PAGE.read_text("utf-8"))
    PAGE.write_text("\n".join([*before, *table(), *after]) + "\n", "utf-8")


def table() -> list[str]:
    """The table's lines, a row for each setting, in the order of the module."""
    prefix = Settings.model_config.get("env_prefix", "")
    rows = [
        (f"`{prefix}{name.upper()}`", kind(field), default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return [HEADER, RULE, *("| " + " | ".join(row) + " |" for row in rows)]


def prose(text: str) -> tuple[list[str], list[str]]:
    """The lines before and after the table.

    Raises:
        ValueError: there is no table, or more than one.
    """
    lines = text.splitlines()
    if lines.count(HEADER) != 1:
        raise ValueError(f"{PAGE} must have exactly one line {HEADER!r}")
    first = lines.index(HEADER)
    rest = lines[first:]
    length = next((at for at, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return lines[:first], rest[length:]


def shown(text: str) -> list[str]:
    """The table's lines as they stand in the page.

    Raises:
        ValueError: there is no table, or more than one.
    """
    before, after = prose(text)
    lines = text.splitlines()
    return lines[len(before) : len(lines) - len(after)]


if __name__ == "__main__":
    main()
