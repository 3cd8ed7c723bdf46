"""Writes the table of docs/settings.md from service/settings.py: `make settings`.

The prose around the table is the page's own and stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from holdfast.service.commands.setting_texts import default, kind
from holdfast.service.settings import Settings
from scripts import page_tables

PAGE: Final = Path(__file__).parent.parent / "docs" / "settings.md"
HEADER: Final = "| name | value | default | what it does |"
RULE: Final = "| --- | --- | --- | --- |"


def main() -> None:
    """Replaces the table in the page.

    Raises:
        ValueError: the page has no table, or more than one.
    """
    page_tables.write(PAGE, table())


def table() -> list[str]:
    """The table's lines, a row for each setting, in the order of the module."""
    prefix = Settings.model_config.get("env_prefix", "")
    rows = [
        (f"`{prefix}{name.upper()}`", kind(field), default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return [HEADER, RULE, *("| " + " | ".join(row) + " |" for row in rows)]


if __name__ == "__main__":
    main()
