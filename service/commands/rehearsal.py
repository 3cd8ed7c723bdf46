"""`holdfast gc --dry-run`: what a run would take, thing by thing."""

from __future__ import annotations

import typer

from holdfast.cli.output import print_json, size
from holdfast.errors import shorten
from holdfast.service.collector.report import Fate, Kind

SHOWN = 20
"""Things that are shown to people; programs are told of all."""
NAME = 200
"""Characters of a name that people are shown: a ref may have 1 KiB."""


class Rehearsal:
    """What a run would take, as it finds it; called by one thread at a time."""

    def __init__(self, *, as_json: bool) -> None:
        """Nothing is found yet.

        Args:
            as_json: whether each thing is printed at once, as an object on a line; else the
                first `SHOWN` are kept for `show`.
        """
        self._as_json = as_json
        self._lines: list[str] = []
        self._count = 0

    def __call__(self, kind: Kind, fate: Fate, count: int, name: str) -> None:
        """One thing would be taken."""
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
        """Prints what was kept, and how much more there is."""
        for line in self._lines:
            typer.echo(line)
        if self._count > len(self._lines) and not self._as_json:
            typer.echo(f"and {self._count - len(self._lines):,} more; --json names all")
