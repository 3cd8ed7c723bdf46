"""What commands print: tables for people, Json lines for programs, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from holdfast.client import Committed
from holdfast.client.upload import Progress as Told
from holdfast.values import Info, Status

WIDE: Final = 10_000
"""Columns of what isn't a terminal: a line is never broken there."""


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or error; wide where nobody looks."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else WIDE, highlight=False, soft_wrap=False
    )


def print_json(value: Mapping[str, Any]) -> None:
    """One Json object on a line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table without lines; what cells hold is never taken for markup."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def size(count: int) -> str:
    """Bytes, readable."""
    unit, suffix = pick_unit_and_suffix(count, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024)
    return f"{count} B" if unit == 1 else f"{count / unit:.1f} {suffix}"


def info_object(info: Info) -> dict[str, Any]:
    """A hold as JSON."""
    return {
        "digest": str(info.digest),
        "size": info.size,
        "created_at": info.created_at.isoformat(),
        "updated_at": info.updated_at.isoformat(),
        "labels": dict(info.labels),
    }


def status_object(status: Status) -> dict[str, Any]:
    """An ingest as JSON."""
    return {
        "ref": status.ref,
        "offset": status.offset,
        "total": status.total,
        "expected": status.expected,
        "started_at": status.started_at.isoformat(),
        "updated_at": status.updated_at.isoformat(),
    }


def committed_object(committed: Committed, source: str) -> dict[str, Any]:
    """A pushed blob as JSON."""
    return {
        "digest": str(committed.digest),
        "size": committed.size,
        "source": source,
        "already_there": committed.already_there,
        "sent": committed.sent,
        "resumed_at": list(committed.resumed_at),
    }


class Bars:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def bar(self, what: str, total: int) -> Told:
        """A bar in place of the last one; the callback takes the bytes so far, and all."""
        progress = self._progress
        if progress is None:
            return _told_nobody
        for finished in progress.task_ids:
            progress.remove_task(finished)
        task = progress.add_task(what, total=total or None)

        def tell(at: int, whole: int) -> None:
            progress.update(task, completed=at, total=whole or total or None)

        return tell

    def say(self, text: str) -> None:
        """A line on standard error, above the bars."""
        if self._progress is None:
            typer.echo(text, err=True)
        else:
            self._progress.console.print(Text(text))


def _told_nobody(at: int, whole: int) -> None:
    """Nobody looks."""


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """A bar with rate and time left, if standard error is a terminal."""
    where = console(stderr=True)
    if not where.is_terminal:
        yield Bars(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=where, transient=True) as progress:
        yield Bars(progress)
