"""Writes the table of values in the chart's README: `make values`.

Names and defaults are those of values.yaml, texts the descriptions in values.schema.json: a value
with a description has a row, and a section without one has a row for each of its values. The prose
around the table is the page's own and stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from scripts import page_tables

CHART: Final = Path(__file__).parent.parent / "helm" / "holdfast"
PAGE: Final = CHART / "README.md"
HEADER: Final = "| value | default | what it does |"
RULE: Final = "| --- | --- | --- |"
_PLAIN: Final = re.compile(r"[\w./%-]+")

Schema = Mapping[str, Any]


def main() -> None:
    """Replaces the table in the page.

    Raises:
        ValueError: the page has no table or more than one, or a value has no description.
    """
    page_tables.write(PAGE, table())


def table() -> list[str]:
    """The table's lines, a row for each value, in the order of values.yaml.

    Raises:
        ValueError: a value has no description.
    """
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    rows = [
        f"| `{name}` | `{shown(value)}` | {text} |"
        for name, value, text in described(values, schema())
    ]
    return [HEADER, RULE, *rows]


def schema() -> Schema:
    """The schema of all values."""
    found: Schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    return found


def described(
    values: Mapping[str, Any], rules: Schema, prefix: str = ""
) -> Iterator[tuple[str, Any, str]]:
    """Each value's path, default and description.

    Args:
        values: a section of values.yaml.
        rules: its schema.
        prefix: its path, with a dot at the end.

    Raises:
        ValueError: a value has no description.
    """
    for name, value in values.items():
        own = rules.get("properties", {}).get(name, {})
        path = f"{prefix}{name}"
        if "description" in own:
            yield path, value, own["description"]
        elif isinstance(value, Mapping) and value and resolved(own).get("properties"):
            yield from described(value, resolved(own), f"{path}.")
        else:
            raise ValueError(f"{path} has no description in values.schema.json")


def resolved(rules: Schema) -> Schema:
    """The rules themselves, or those in `definitions` that they refer to."""
    if "$ref" not in rules:
        return rules
    found: Schema = schema()["definitions"][rules["$ref"].removeprefix("#/definitions/")]
    return found


def shown(value: Any) -> str:  # noqa: ANN401 -- whatever a value can be
    """A default as one would write it in YAML, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {shown(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown(one) for one in value) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and yaml.safe_load(value) == value
        return value if plain else json.dumps(value)
    return json.dumps(value)


if __name__ == "__main__":
    main()
