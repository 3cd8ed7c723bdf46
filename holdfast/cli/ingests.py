"""Commands on unfinished ingests: active, status, abort."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from holdfast.cli import output
from holdfast.cli.options import QUICK, Json, with_store
from holdfast.client import ContentStore
from holdfast.errors import NotFound
from holdfast.values import Status, check_ref

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
    """List the tenant's unfinished ingests; with --json one object per line."""
    _print(store.statuses(*(filters or ())), json)


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
                f"{found.started_at:%Y-%m-%d %H:%M:%S}",
                f"{found.updated_at:%Y-%m-%d %H:%M:%S}",
            )
            for found in statuses
        ),
    )
