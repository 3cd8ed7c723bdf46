"""Commands on unfinished ingests: active, status, abort."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from holdfast.cli import output
from holdfast.cli.options import QUICK, Json, with_store
from holdfast.client import ContentStore
from holdfast.errors import NotFound
from holdfast.moments import moment
from holdfast.values import Flight, Status, check_ref

REF = Annotated[str, typer.Argument(metavar="REF", help="Ref of the ingest.")]


@with_store(QUICK)
def active(
    store: ContentStore,
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER", help="Filters such as ref==name. What matches any of them is listed."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the tenant's unfinished ingests, and the large blobs that the whole fleet is writing.

    With --json there is one object per line. Filters choose ingests; with one, no blobs are listed.
    """
    _print(store.statuses(*(filters or ())), json)
    if not filters:
        _print_flights(store.flights(), json)


@with_store(QUICK)
def status(store: ContentStore, ref: REF, json: Json = False) -> None:
    """Show how far one ingest is."""
    _print([store.status(ref)], json)


@with_store(QUICK)
def abort(
    store: ContentStore,
    refs: Annotated[list[str], typer.Argument(metavar="REF", help="Refs of the ingests to abort.")],
) -> None:
    """Abort unfinished ingests, even if somebody is writing them.

    That there was none is said, and is no error.
    """
    for ref in list(map(check_ref, refs)):
        there = True
        try:
            store.status(ref)
        except NotFound:
            there = False
        store.abort(ref)
        if there:
            typer.echo(ref)
        else:
            typer.echo(f"holdfast: nothing is being written under {ref}", err=True)


def _print(statuses: Iterable[Status], json: bool) -> None:
    if json:
        for found in statuses:
            output.print_json(output.status_object(found))
        return
    output.print_table(
        ("REF", "OFFSET", "TOTAL", "STARTED", "UPDATED"),
        (
            (
                found.ref,
                output.size(found.offset),
                output.size(found.total) if found.total else "-",
                moment(found.started_at),
                moment(found.updated_at),
            )
            for found in statuses
        ),
    )


def _print_flights(flights: Iterable[Flight], json: bool) -> None:
    found = list(flights)
    if json:
        for flight in found:
            output.print_json(output.flight_object(flight))
        return
    if not found:
        return
    typer.echo()
    output.print_table(
        ("BEING WRITTEN", "BY", "OFFSET", "TOTAL", "WAITING"),
        (
            (
                str(flight.digest),
                flight.leader,
                output.size(flight.offset),
                output.size(flight.total) if flight.total else "-",
                _waiters(flight),
            )
            for flight in found
        ),
    )


def _waiters(flight: Flight) -> str:
    named = ", ".join(flight.waiters)
    more = flight.waiting - len(flight.waiters)
    return f"{named} and {more:,} more" if more > 0 else named or "-"
