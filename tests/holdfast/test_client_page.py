"""docs/client.md, held against the code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from holdfast import errors
from holdfast.cli.exit_codes import ERROR, INTERRUPTED, exit_code
from holdfast.client import ClientOptions

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def rows(pattern: str) -> list[tuple[str, ...]]:
    text = PAGE.read_text("utf-8")
    return [match.groups() for match in re.finditer(pattern, text, re.MULTILINE)]


def test_every_option_is_on_the_page_with_its_default() -> None:
    """The table has each knob of the client once, in order, with its default."""
    found = rows(r"^\| `(\w+)` \| ([\w.]+) \|")
    documented = {row[0]: row[1] for row in found}
    fields = {field.name: field.default for field in dataclasses.fields(ClientOptions)}
    assert documented == {
        name: str(default) if isinstance(default, bool) else f"{default:.10g}"
        for name, default in fields.items()
    }


def test_every_exit_code_is_on_the_page() -> None:
    """The table has each exit code that the command line knows, and no other."""
    kinds = [kind() for kind in vars(errors).values() if _is_error(kind)]
    known = {0, ERROR, INTERRUPTED, *map(exit_code, kinds)}
    assert {int(code) for (code,) in rows(r"^\| (\d+) \|")} == known


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.HoldfastError)
