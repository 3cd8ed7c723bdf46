"""The chart's README says what values.yaml and values.schema.json do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from scripts import page_tables, values_page
from scripts.values_page import CHART, PAGE, described, resolved, schema


def test_the_table_is_that_of_the_chart() -> None:
    """The README's table has each value with its default and description."""
    found = page_tables.shown(PAGE, values_page.HEADER)
    assert found == values_page.table(), "run `make values`"


def test_every_value_says_what_it_does() -> None:
    """Each value has a description that ends like a sentence."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    silent = [
        name for name, _, text in described(values, schema()) if not text.endswith((".", "*"))
    ]
    assert silent == []


def test_a_value_that_can_be_set_is_in_values_yaml() -> None:
    """The schema knows no value that values.yaml doesn't show."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert list(hidden(values, schema())) == []


def test_a_misspelt_value_is_refused_wherever_it_is() -> None:
    """Each section of the chart's own values knows all its names."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert list(open_sections(values, schema())) == []


def hidden(values: Mapping[str, Any], rules: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Names that a schema knows and the values lack; free mappings end the search."""
    for name, own in resolved(rules).get("properties", {}).items():
        if name not in values:
            yield f"{at}{name}"
        elif "description" not in own and isinstance(values[name], Mapping):
            yield from hidden(values[name], own, f"{at}{name}.")


def open_sections(
    values: Mapping[str, Any], rules: Mapping[str, Any], at: str = ""
) -> Iterator[str]:
    """Sections whose schema allows names that it doesn't know."""
    rules = resolved(rules)
    if rules.get("additionalProperties") is not False:
        yield at or "all"
    for name, own in rules.get("properties", {}).items():
        if "description" not in own and isinstance(values.get(name), Mapping):
            yield from open_sections(values[name], own, f"{at}{name}.")
