"""What commands print: tables for people, lines of JSON for programs, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from holdfast.client import Committed
from holdfast.client.upload import Progress as Told
from holdfast.values import Flight, Info, Status

WIDE: Final = 10_000
"""The width, in columns, of an output that isn't a terminal, so that no line is broken."""


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or error; wide if that isn't a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else WIDE, highlight=False, soft_wrap=False
    )


def printable(text: str) -> str:
    r"""Returns a text that UTF-8 has: bytes of a file's name that aren't UTF-8 become `\xff`."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def print_json(value: Mapping[str, Any]) -> None:
    """Prints one JSON object on a line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Prints a table whose columns are as wide as their longest cell; no row is folded.

    Headings that are all empty aren't printed.
    """
    names, lines = list(headings), [[_single(cell) for cell in row] for row in rows]
    widths = (max(map(cell_len, column)) for column in zip(names, *lines, strict=True))
    print_rows(names, widths, lines)


def print_rows(
    headings: Iterable[str], widths: Iterable[int], rows: Iterable[Iterable[str]]
) -> None:
    """Prints a table of any number of rows, one by one, and never folds a row.

    Args:
        headings: of the columns.
        widths: columns of the terminal to which cells are padded; a longer cell sticks out.
        rows: cells, of which lines are joined.
    """
    columns = tuple(widths)

    def line(cells: Iterable[str]) -> str:
        padded = (
            cell + " " * (width - cell_len(cell))
            for cell, width in zip(map(_single, cells), columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    heading = line(headings)
    for row in rows:
        if heading:
            sys.stdout.write(f"{heading}\n")
            heading = ""
        sys.stdout.write(f"{line(row)}\n")
    sys.stdout.write(f"{heading}\n" if heading else "")
    sys.stdout.flush()


def _single(cell: str) -> str:
    return " ".join(cell.splitlines())


def harmless(text: str, most: int = 200) -> str:
    """What a client has chosen, such as a ref, as a terminal may show it: one line, no controls.

    Each character that isn't printable, among them those that move the cursor, change colours or
    turn the direction of writing, is shown as its escape; the text ends after `most` characters.
    """
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in shown)


def size(count: int) -> str:
    """A number of bytes, for people."""
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


def flight_object(flight: Flight) -> dict[str, Any]:
    """A digest that is being written, as JSON."""
    return {
        "flight": str(flight.digest),
        "leader": flight.leader,
        "offset": flight.offset,
        "total": flight.total,
        "waiting": flight.waiting,
        "waiters": list(flight.waiters),
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
    """Progress bars on a terminal; none elsewhere. Safe for many threads."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def bar(self, what: str, total: int) -> Told:
        """Shows one bar instead of all others; the callback takes the bytes so far and in total."""
        if self._progress is not None:
            for finished in self._progress.task_ids:
                self._progress.remove_task(finished)
        return self.begin(what, total).tell

    def begin(self, what: str, total: int) -> Bar:
        """Adds a bar below the others, until it is ended."""
        task = self._progress.add_task(what, total=total or None) if self._progress else None
        return Bar(self._progress, task, total)

    def say(self, text: str) -> None:
        """Prints a line on standard error, above the bars."""
        if self._progress is None:
            typer.echo(printable(text), err=True)
        else:
            self._progress.console.print(Text(printable(text)), soft_wrap=True)

    def result(self, text: str) -> None:
        """Prints a line on standard output; on a terminal it is above the bars."""
        if self._progress is not None and sys.stdout.isatty():
            self._progress.console.print(Text(printable(text)), soft_wrap=True)
        else:
            typer.echo(printable(text))


class Bar:
    """One bar, or nothing if there is no terminal."""

    def __init__(self, progress: Progress | None, task: TaskID | None, total: int) -> None:
        self._progress = progress
        self._task = task
        self._total = total

    def tell(self, at: int, whole: int) -> None:
        """Shows how many bytes are done, and of how many; 0: the number given first."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=at, total=whole or self._total or None)

    def describe(self, what: str) -> None:
        """Changes its text."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=what)

    def end(self) -> None:
        """Removes it."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)


class RateColumn(ProgressColumn):
    """Bytes per second, in the same units as everything else."""

    def render(self, task: Task) -> Text:
        """The rate of one bar."""
        speed = task.finished_speed or task.speed
        return Text(f"{size(int(speed))}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Shows bars with rate and time left, if standard error is a terminal."""
    where = console(stderr=True)
    if not where.is_terminal:
        yield Bars(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        RateColumn(),
        TimeRemainingColumn(),
    )
    # Standard output isn't redirected: it may be a pipe.
    with Progress(*columns, console=where, transient=True, redirect_stdout=False) as progress:
        yield Bars(progress)
