"""`holdfast gc`: runs the collector and prints what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.live import Live
from rich.text import Text

from holdfast.cli.output import console, print_json, print_table, size
from holdfast.errors import InvalidArgument
from holdfast.moments import moment
from holdfast.service.collector import loop
from holdfast.service.collector.assembly import CollectorOptions
from holdfast.service.collector.brakes import ACCEPTABLE, BrakeReason
from holdfast.service.collector.report import CollectedKind, CollectionReport, Fate
from holdfast.service.commands.audited import FAILED, OK, Noting, audited
from holdfast.service.commands.doomed_table import show_doomed
from holdfast.service.commands.options import with_settings
from holdfast.service.commands.rehearsal import Rehearsal
from holdfast.service.process import logs
from holdfast.service.settings import Settings, load
from holdfast.service.tenants.consent import consent, refuse_unknown
from holdfast.values import check_tenant

REFRESH = 4
"""Redraws of the progress line per second."""


@with_settings
def gc(
    options: Mapping[str, Any],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would be done, and change nothing.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            "--loop", min=1.0, help="Run again and again, with about so many seconds in between."
        ),
    ] = None,
    tenant_gone: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant-gone",
            metavar="NAME",
            help="Give up all holds and ingests of a tenant that will not come back; repeatable.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Don't ask for confirmation of --tenant-gone.")
    ] = False,
    accept: Annotated[
        str,
        typer.Option(
            metavar="BRAKE[,BRAKE]",
            help="Continue this run despite these brakes, separated by commas: "
            f"{', '.join(sorted(ACCEPTABLE))}.",
        ),
    ] = "",
    doomed: Annotated[
        bool, typer.Option("--doomed", help="Only list the data that is doomed, and since when.")
    ] = False,
    spool_dir: Annotated[
        Path | None,
        typer.Option(
            "--spool-dir", help="Folder for sorting listings, with about 100 bytes for each hold."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove what nobody holds any more, and what crashes have left."""
    settings = load(**options)
    # The report says what is done; a loop is a service, so it logs, too.
    logs.configure(settings.log_level if every else "warning", settings.log_format)
    if doomed:
        show_doomed(settings, spool_dir, as_json=as_json)
        return
    if every and accept:
        raise InvalidArgument(
            "--accept is for one run whose findings somebody has checked; leave out --loop"
        )
    orders = CollectorOptions(
        dry_run=dry_run,
        accept=_brakes(accept),
        tenants_gone=tuple(check_tenant(name) for name in tenant_gone or ()),
        spool_dir=spool_dir,
    )
    if orders.tenants_gone:
        refuse_unknown(settings, orders.tenants_gone)
        consent(orders.tenants_gone, yes=yes or dry_run)
    with ExitStack() as screen, _audited(settings, orders) as note:
        progress = _progress(screen)
        ended = _json if as_json else _table

        def begin(report: CollectionReport) -> None:
            if dry_run:
                rehearsal = Rehearsal(as_json=as_json)
                report.taken = rehearsal
                screen.callback(rehearsal.show)
            progress(report)

        def finish(report: CollectionReport) -> None:
            screen.pop_all().close()
            ended(report)

        done = uvloop.run(loop.collect(settings, orders, every=every, began=begin, ended=finish))
        for tenant in orders.tenants_gone:
            note(target=tenant, outcome=OK if done else FAILED)
        if not done:
            raise typer.Exit(1)


def _audited(settings: Settings, orders: CollectorOptions) -> AbstractContextManager[Noting]:
    """Writes what an operator has ordered beyond a usual run to the audit log."""
    accepted = ",".join(sorted(brake.value for brake in orders.accept))
    worth = bool(orders.accept or orders.tenants_gone) and not orders.dry_run
    return audited(settings, "gc", worth=worth, accept=accepted)


def _brakes(names: str) -> frozenset[BrakeReason]:
    """Parses the names of brakes.

    Raises:
        InvalidArgument: a name isn't a brake's, or the brake can't be accepted.
    """
    given = {name.strip() for name in names.split(",")} - {""}
    if unknown := given - ACCEPTABLE:
        raise InvalidArgument(
            f"--accept {', '.join(sorted(unknown))}: the brakes that can be accepted are "
            f"{', '.join(sorted(ACCEPTABLE))}"
        )
    return frozenset(map(BrakeReason, given))


def _progress(screen: ExitStack) -> Callable[[CollectionReport], None]:
    """Shows the progress of a run, if standard error is a terminal."""
    where = console(stderr=True)

    def show(report: CollectionReport) -> None:
        if where.is_terminal:
            line = lambda: Text(_line(report))  # noqa: E731 -- a renderable, asked again and again
            live = Live(
                get_renderable=line,
                console=where,
                refresh_per_second=REFRESH,
                transient=True,
                redirect_stdout=False,  # it may be a pipe that waits for JSON
            )
            screen.enter_context(live)

    return show


def _line(report: CollectionReport) -> str:
    """Returns the text for the progress of a run."""
    counts = {}
    for kind, fate, tally in report.rows():
        if fate.value == "seen":
            counts[kind.value] = tally.count
    seen = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return f"{report.doing}: {seen} seen" if seen else report.doing


def _json(report: CollectionReport) -> None:
    print_json(report.as_json())


def _table(report: CollectionReport) -> None:
    rows = [
        (kind.value, fate.text, f"{tally.count:,}", size(tally.bytes) if tally.bytes else "")
        for kind, fate, tally in report.rows()
    ]
    if rows:
        print_table(("", "what", "count", "bytes"), rows)
    would = "would free" if report.dry_run else "freed"
    later = f"; the next run may free {size(report.next_frees)}" if report.next_frees else ""
    typer.echo(f"{would} {size(report.freed)}{later}")
    if report.retained_since is not None:
        retained = report.tally(CollectedKind.RECORDS, Fate.RETAINED)
        typer.echo(
            f"retains {size(retained.bytes)} that nobody holds, in {retained.count:,} blobs, the "
            f"first since {moment(report.retained_since)}"
        )
    for said in report.errors:
        typer.echo(f"error: {said}", err=True)
    if report.error_count > len(report.errors):
        typer.echo(f"and {report.error_count - len(report.errors)} more errors", err=True)
