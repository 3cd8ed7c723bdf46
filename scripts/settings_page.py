"""Writes the table of docs/settings.md from service/settings.py: `make settings`.

The prose around the table is the page's own and stays as it is.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Final, Literal

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from service.settings import Settings, default_data_dir

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
        (f"`{prefix}{name.upper()}`", _value(field), _default(field), field.description or "")
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


def _value(field: FieldInfo) -> str:
    """What may be given, with its unit and its bounds."""
    kind = field.annotation
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    names: dict[object, str] = {
        ByteSize: "bytes, as `8MiB`",
        float: "seconds",
        int: "count",
        bool: "`true`, `false`",
        Path: "path",
        str: "text",
    }
    if isinstance(kind, types.GenericAlias):
        return "list of text"
    return names[kind] + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    words = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}
    found = [
        f"{word}{_number(getattr(rule, name))}"
        for rule in field.metadata
        for name, word in words.items()
        if getattr(rule, name, None) is not None
    ]
    return f", {', '.join(found)}" if found else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.default_factory is default_data_dir:
        # The page must not depend on whose home it was made in.
        return "`$XDG_DATA_HOME/holdfast`, or `~/.local/share/holdfast`"
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(separator='')}`".replace(".0", "")
    if isinstance(value, list):
        return f"`{' '.join(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{_number(value)}`"
    return f"`{value}`" if value else "empty"


if __name__ == "__main__":
    main()
