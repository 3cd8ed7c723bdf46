"""docs/settings.md says what service/settings.py does."""

from __future__ import annotations

from holdfast.service.settings import Settings
from scripts import page_tables, settings_page


def test_the_table_is_that_of_the_code() -> None:
    """The page's table has each setting with its value, default and description."""
    found = page_tables.shown(settings_page.PAGE, settings_page.HEADER)
    assert found == settings_page.table(), "run `make settings`"


def test_every_setting_says_what_it_does() -> None:
    """Each setting has a description that ends like a sentence."""
    silent = [
        name
        for name, field in Settings.model_fields.items()
        if not (field.description or "").endswith(".")
    ]
    assert silent == []


def test_a_size_or_a_time_names_its_unit() -> None:
    """The description of a number says what it counts: bytes, seconds, parts or the like."""
    units = (
        *("byte", "second", "part", "thread", "stream", "reads", "call", "digest", "ingest"),
        "share",
    )
    nameless = [
        name
        for name, field in Settings.model_fields.items()
        if field.annotation in {int, float}
        and not any(unit in (field.description or "").lower() for unit in units)
    ]
    assert nameless == []
