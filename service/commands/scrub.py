"""`holdfast scrub`: reads what is stored, and reports what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from holdfast.cli.output import print_json, print_table, size
from holdfast.digests import Digest
from holdfast.errors import InvalidArgument, shorten
from holdfast.service.commands.options import with_settings
from holdfast.service.process import logs
from holdfast.service.scrub import run
from holdfast.service.scrub.passes import ScrubOptions
from holdfast.service.scrub.report import ScrubReport
from holdfast.service.settings import load

RATE: Final = "100MiB"
"""Bytes per second: a terabyte in three hours, and little compared with what a node pulls."""
WORKERS: Final = 4
"""Enough workers to reach the rate if a request takes 100 ms."""
PAUSE: Final = 3600.0


@with_settings
def scrub(
    options: Mapping[str, Any],
    *,
    rate: Annotated[
        str, typer.Option(help="Bytes of data read per second, such as 100MiB; 0 sets no limit.")
    ] = RATE,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Number of blobs read concurrently, with about 10 MiB for each."
        ),
    ] = WORKERS,
    looped: Annotated[
        bool,
        typer.Option("--loop/--once", help="Begin again after each pass, until it is stopped."),
    ] = False,
    pause: Annotated[
        float, typer.Option(min=1.0, help="Seconds between two passes of a loop.")
    ] = PAUSE,
    begin: Annotated[
        str,
        typer.Option(
            "--from", metavar="DIGEST", help="Begin at this digest, not where the last run stopped."
        ),
    ] = "",
    shallow: Annotated[
        bool, typer.Option("--shallow", help="Only check that data exists; don't read it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Begin at the start, and mark and write nothing.")
    ] = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Mark all damage, however much it is, because it is real."),
    ] = False,
    spool_dir: Annotated[
        Path | None,
        typer.Option(
            "--spool-dir", help="Folder for sorting listings, with about 250 bytes for each hold."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify all that is stored, and quarantine what is damaged; exits with 1 if anything is."""
    settings = load(**options)
    logs.configure(settings.log_level if looped else "warning", settings.log_format)
    limit, first = _bytes(rate), Digest.parse(begin) if begin else None
    passes = 0

    def ordered(hold_age: float) -> ScrubOptions:
        nonlocal passes
        passes += 1
        return ScrubOptions(
            rate=limit,
            workers=workers,
            hold_age=hold_age,
            begin=first if passes == 1 else None,
            shallow=shallow,
            dry_run=dry_run,
            accept=accept,
            spool_dir=spool_dir,
        )

    ended = _json if as_json else _table
    if not run.scrub(settings, ordered, ended, pause=pause if looped else None):
        raise typer.Exit(1)


def _bytes(text: str) -> int:
    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        raise InvalidArgument(
            f"--rate {shorten(text)} isn't a size; give bytes per second, as 100MiB"
        ) from None


def _json(report: ScrubReport) -> None:
    print_json(report.as_json())


def _table(report: ScrubReport) -> None:
    if report.findings:
        print_table(
            ("what", "digest", "at", "done", "found"),
            ((f.kind.value, f.digest, f.key, f.action.value, f.detail) for f in report.findings),
        )
    if report.untold:
        typer.echo(f"and {report.untold} more, reported by earlier runs or in the log")
    counts = report.counts
    typer.echo(
        f"{counts.records:,} records, {counts.holds:,} holds, {size(counts.bytes)} read in "
        f"{report.seconds:.1f} s ({size(round(report.rate))}/s)"
    )
    typer.echo(f"{_verdict(report)}{': stopped before the end' if report.stopped else ''}")
    if report.brake:
        typer.echo(f"stopped marking: {report.brake}", err=True)
    if report.caches_late:
        typer.echo(
            "Redis can't be reached: frontends may say for an hour or longer that what was "
            "quarantined is there; the next scrub corrects that",
            err=True,
        )


def _verdict(report: ScrubReport) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.found.items()))
    if report.well:
        return f"all is well{f' ({kinds})' if kinds else ''}"
    return f"not all is well: {kinds}"
