"""`holdfast explain`: prints all that is known of a blob or of a ref."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import uvloop
from rich.live import Live
from rich.text import Text

from holdfast.cli.exit_codes import exit_code
from holdfast.cli.output import console, harmless, print_json, size
from holdfast.digests import Digest
from holdfast.errors import InvalidArgument, NotFound
from holdfast.moments import moment
from holdfast.overview import Problem
from holdfast.service.commands.options import with_settings
from holdfast.service.explain.facts import (
    BlobExplanation,
    HolderFacts,
    HoldersFacts,
    IngestFacts,
    LeaseFacts,
    MarkerFacts,
    ObjectFacts,
    RecordFacts,
    RefExplanation,
)
from holdfast.service.explain.run import Question, explainer
from holdfast.service.process import logs
from holdfast.service.settings import Settings, load
from holdfast.values import Flight, check_ref, check_tenant

Rows = Iterator[tuple[str, str]]
"""What something is called, and what is said of it; without a name it belongs to the one before."""
NAMES: Final = len("in flight")
"""Columns of the names of what is said."""
MOST: Final = 20
"""Holders and writers that are named by default."""


@with_settings
def explain(
    options: Mapping[str, Any],
    *,
    what: Annotated[str, typer.Argument(metavar="DIGEST|REF", help="What is to be explained.")],
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Look at the holds and ingests of this tenant alone; repeatable. What gc would "
            "do with a blob depends on all tenants, and isn't said then.",
        ),
    ] = None,
    most: Annotated[
        int, typer.Option("--most", min=0, help="Holders and writers that are shown one by one.")
    ] = MOST,
    ref: Annotated[
        bool, typer.Option("--ref", help="It is a ref, even if it is a digest.")
    ] = False,
    spool_dir: Annotated[
        Path | None,
        typer.Option(
            "--spool-dir", help="Folder for sorting the list of what gc is about to delete."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show all that is known of a blob or a ref: where it is, who has it, what gc would do."""
    digest = None if ref else _digest(what)
    settings = load(**options)
    logs.configure("error", settings.log_format)
    tenants = [check_tenant(name) for name in tenant] if tenant else None
    asked = _explain(settings, digest, what, Question(tenants, most, spool_dir))
    found: BlobExplanation | RefExplanation = uvloop.run(asked)
    if as_json:
        print_json(found.as_json())
    elif isinstance(found, BlobExplanation):
        _print(found.summary, _blob(found))
    else:
        _print("", _ref(found))
    if not found.known:
        raise typer.Exit(exit_code(NotFound()))


async def _explain(
    settings: Settings, digest: Digest | None, ref: str, question: Question
) -> BlobExplanation | RefExplanation:
    async with explainer(settings) as opened:
        if digest is None:
            return await opened.ref(check_ref(ref), question)
        where = console(stderr=True)
        if not where.is_terminal:
            return await opened.blob(digest, question)
        with Live(console=where, transient=True, redirect_stdout=False) as live:
            return await opened.blob(
                digest, question, lambda count: live.update(Text(f"{count:,} tenants looked at"))
            )


def _digest(text: str) -> Digest | None:
    """Returns the digest that a text is; None if it is a ref."""
    try:
        return Digest.parse(text)
    except InvalidArgument:
        return None


def _print(summary: str, rows: Rows) -> None:
    if summary:
        typer.echo(summary)
    for name, text in rows:
        typer.echo(f"{name:<{NAMES}}  {text}".rstrip())


# -- a blob


def _blob(found: BlobExplanation) -> Rows:
    yield from _record(found.record)
    if found.data:
        yield "data", _object(found.data)
    yield from _named("retained", map(_marker, found.markers))
    yield from _holders(found.holders)
    for ingest in found.ingests:
        yield from _ingest(ingest)
    if found.ingest_count > len(found.ingests):
        more = found.ingest_count - len(found.ingests)
        yield "", f"and {more:,} more ingests; --most shows more"
    if found.flight:
        yield "in flight", _flight(found.flight)
    if found.arrived:
        yield "arrived", "parts of it were committed within the last hour"
    yield from _problems(found.problems)
    yield from _named("gc", (harmless(verdict.says, 1000) for verdict in found.gc))
    yield from _named("not known", (harmless(why, 1000) for why in found.missing))


def _record(record: RecordFacts | None) -> Rows:
    if record is None:
        yield "record", "none"
        return
    if record.error:
        yield "record", f"{record.state}: {harmless(record.error, 1000)}"
        return
    where = "inside the record" if record.inline else record.data
    sums = f", in {record.blocks:,} blocks" if record.blocks > 1 else ""
    yield (
        "record",
        f"{record.state}, {_bytes(record.size)}{sums}, committed {moment(record.created_at)}",
    )
    yield "", f"written {moment(record.written_at)}, its bytes are {where}"


def _object(found: ObjectFacts) -> str:
    wrong = (
        "" if found.expected in {None, found.size} else f" instead of {_bytes(found.expected or 0)}"
    )
    doomed = f", doomed since {moment(found.doomed_since)}" if found.doomed_since else ""
    if not found.there:
        expected = f", which should have {_bytes(found.expected)}" if found.expected else ""
        return f"{harmless(found.key)} is missing{expected}{doomed}"
    stored = f", stored {moment(found.stored_at)}" if found.stored_at else ""
    return f"{harmless(found.key)} has {_bytes(found.size)}{wrong}{stored}{doomed}"


def _marker(marker: MarkerFacts) -> str:
    dropped = "somebody has asked to drop it " if marker.dropped else "nobody holds it "
    until = "" if marker.dropped else f", retained until {moment(marker.until)}"
    return f"{dropped}since {moment(marker.since)}{until} ({_bytes(marker.size)})"


def _holders(holders: HoldersFacts) -> Rows:
    if not holders.tenants:
        yield "held by", "nobody"
        return
    deleting = f", {holders.deleting:,} being deleted" if holders.deleting else ""
    yield "held by", f"{_many(holders.tenants, 'tenant')}, {_many(holders.holds, 'hold')}{deleting}"
    for holder in holders.named:
        yield "", f"  {_holder(holder)}"
    if holders.tenants > len(holders.named):
        yield "", f"  and {holders.tenants - len(holders.named):,} more; --most shows more"


def _holder(holder: HolderFacts) -> str:
    if holder.error:
        return f"{holder.tenant}: {harmless(holder.error, 500)}"
    labels = ", ".join(
        f"{harmless(key)}={harmless(value)}" for key, value in sorted((holder.labels or {}).items())
    )
    several = f", {holder.holds} holds" if holder.holds > 1 else ""
    deleting = f", {holder.deleting} being deleted" if holder.deleting else ""
    told = f", labels {labels}" if labels else ""
    return f"{holder.tenant}: since {moment(holder.created_at)}{several}{deleting}{told}"


def _flight(flight: Flight) -> str:
    whole = f" of {_bytes(flight.total)}" if flight.total else ""
    waiting = f"; {flight.waiting:,} wait" if flight.waiting else ""
    return f"{flight.leader} leads with {_bytes(flight.offset)}{whole}{waiting}"


# -- a ref


def _ref(found: RefExplanation) -> Rows:
    if not found.ingests:
        yield "ref", f"nothing is known of {harmless(found.ref)}"
    for ingest in found.ingests:
        yield from _ingest(ingest)
    yield from _problems(found.problems)
    yield from _named("not known", (harmless(why, 1000) for why in found.missing))


def _ingest(ingest: IngestFacts) -> Rows:
    yield "ingest", f"{harmless(ingest.ref)} of {ingest.tenant}: {harmless(ingest.state)}"
    if ingest.error:
        yield "", f"  {harmless(ingest.error, 1000)}"
    if ingest.lease:
        yield "", f"  lease {_lease(ingest.lease)}"
    if ingest.started_at:
        whole = f" of {_bytes(ingest.total)}" if ingest.total else ""
        parts = (
            f", {_many(ingest.parts, 'part')} of {_bytes(ingest.part_size)}" if ingest.parts else ""
        )
        yield "", f"  {_bytes(ingest.offset)} durable, {_bytes(ingest.live)} received{whole}{parts}"
        yield "", f"  begun {moment(ingest.started_at)}, moved {moment(ingest.updated_at)}"
    if ingest.expected:
        yield "", f"  expected {harmless(ingest.expected)}"
    for stored in ingest.stored:
        yield "", f"  {_object(stored)}"
    if ingest.done:
        yield "", f"  committed lately: {harmless(ingest.done[0])}, {_bytes(ingest.done[1])}"
    if ingest.gc:
        yield "", f"  gc {ingest.gc}"


def _lease(lease: LeaseFacts) -> str:
    left = "never expires" if lease.ttl is None else f"expires in {lease.ttl:.0f} s unless renewed"
    dead = lease.alive is False
    gone = ", and that frontend announces nothing: it has died, or can't reach Redis" * dead
    return f"of {harmless(lease.owner)} since {moment(lease.since)}, {left}{gone}"


# -- what both have


def _problems(problems: tuple[tuple[str, Problem], ...]) -> Rows:
    yield from _named(
        "log",
        (
            f"{moment(one.at)} {harmless(frontend)} {one.level}: {harmless(one.event)}"
            f"{': ' * bool(one.reason)}{harmless(one.reason)}"
            for frontend, one in problems
        ),
    )


def _named(name: str, texts: Iterator[str]) -> Rows:
    for text in texts:
        yield name, text
        name = ""


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _bytes(count: int) -> str:
    return size(count)
