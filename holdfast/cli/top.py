"""`holdfast top`: what the fleet is doing, as it does it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.console import Group
from rich.live import Live

from holdfast.cli.options import QUICK, Json, with_store
from holdfast.cli.output import console, print_json
from holdfast.cli.screen import screen
from holdfast.client import ContentStore
from holdfast.errors import Overloaded, Unavailable, reported
from holdfast.overview import Overview

PLAIN: Final = 120
"""Columns of a snapshot that isn't shown on a terminal; the variable COLUMNS says otherwise."""


@with_store(QUICK)
def top(
    store: ContentStore,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look, and end.")] = False,
    json: Json = False,
) -> None:
    """Show what all frontends are doing, until Ctrl-C; needs the role operator.

    Without a terminal, one look is printed. Frontends announce their figures every 5 s.
    """
    if json:
        print_json(store.overview().as_json())
    elif once or not sys.stdout.isatty():
        columns = shutil.get_terminal_size((PLAIN, 0)).columns
        for line in screen(store.overview(), columns, None):
            typer.echo(line.plain)
    else:
        watch(store.overview, every, time.sleep)


def watch(ask: Callable[[], Overview], every: float, sleep: Callable[[float], None]) -> None:
    """Shows what `ask` returns on the whole terminal, again and again, until Ctrl-C.

    If nothing answers for a while, the screen keeps the last answer, and says so.

    Args:
        ask: returns what the fleet is doing.
        every: seconds between two looks.
        sleep: waits for so many seconds.

    Raises:
        HoldfastError: the first question has no answer.
    """
    where, last, trouble = console(), ask(), ""

    def drawn() -> Group:
        return Group(*screen(last, where.width, where.height, trouble))

    with Live(drawn(), console=where, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(drawn(), refresh=True)
                sleep(every)
                try:
                    last, trouble = ask(), ""
                except (Unavailable, Overloaded) as error:
                    trouble = reported(error)
        except KeyboardInterrupt:
            return
