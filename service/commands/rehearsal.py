"""`holdfast gc --dry-run`: prints what a run would remove, thing by thing."""

from __future__ import annotations

import typer

from holdfast.cli.output import print_json, size
from holdfast.errors import shorten
from holdfast.service.collector.report import CollectedKind, Fate

SHOWN = 20
"""Things that are shown to people; programs get all of them."""
NAME = 200
"""Characters of a name that are shown to people: a ref may have 1 KiB."""


class Rehearsal:
    """Prints what a run would remove, as the run finds it; called by one thread at a time."""

    def __init__(self, *, as_json: bool) -> None:
        """Begins with nothing found.

        Args:
            as_json: whether to print each thing at once, as an object on a line; otherwise the
                first `SHOWN` things are kept for `show`.
        """
        self._as_json = as_json
        self._lines: list[str] = []
        self._count = 0

    def __call__(self, kind: CollectedKind, fate: Fate, count: int, name: str) -> None:
        """Handles one thing that would be removed."""
        self._count += 1
        if self._as_json:
            told = {"kind": kind.value, "would_be": fate.value, "name": name, "bytes": count}
            print_json(told)
        elif len(self._lines) < SHOWN:
            told_size = f"  {size(count)}" if count else ""
            plain = len(name) <= NAME and name.isprintable()
            shown = name if plain else shorten(name, NAME)
            self._lines.append(f"would be {fate.words}: {kind.value}  {shown}{told_size}")

    def show(self) -> None:
        """Prints the things that were kept, and how many more there are."""
        for line in self._lines:
            typer.echo(line)
        if self._count > len(self._lines) and not self._as_json:
            typer.echo(f"and {self._count - len(self._lines):,} more; --json names all")
