"""Describes settings in words, for docs/settings.md, `--help` and errors."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Final, Literal

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from holdfast.service.settings import default_data_dir

_METAVARS: Final[dict[object, str]] = {
    ByteSize: "SIZE",
    float: "SECONDS",
    int: "COUNT",
    Path: "PATH",
    str: "TEXT",
}


def metavar(field: FieldInfo) -> str | None:
    """Returns the placeholder for a value in an option's help; None for a switch."""
    what = field.annotation
    if typing.get_origin(what) is Literal:
        return "|".join(map(str, typing.get_args(what)))
    if isinstance(what, types.GenericAlias):
        return "URL"
    return _METAVARS.get(what)


def kind(field: FieldInfo) -> str:
    """Returns what may be given, with its unit and bounds; literal values are in backticks."""
    what = field.annotation
    if typing.get_origin(what) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(what))
    names: dict[object, str] = {
        ByteSize: "bytes, as `8MiB`",
        float: "seconds",
        int: "count",
        bool: "`true`, `false`",
        Path: "path",
        str: "text",
    }
    if isinstance(what, types.GenericAlias):
        return "list of text"
    return names[what] + _bounds(field)


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


def default(field: FieldInfo) -> str:
    """Returns a setting's default; literal values are in backticks."""
    value = field.get_default(call_default_factory=True)
    if field.default_factory is default_data_dir:
        # The text must not depend on the home folder of whoever generates it.
        return "`$XDG_DATA_HOME/holdfast`, or `~/.local/share/holdfast`"
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(separator='')}`".replace(".0", "")
    if isinstance(value, list):
        return f"`{' '.join(value)}`" if value else "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{_number(value)}`"
    return f"`{value}`" if value else "empty"
