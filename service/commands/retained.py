"""`holdfast retained`: lists the blobs that are kept though nobody holds them, and drops some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Annotated, Any, Final

import typer

from holdfast.cli.output import print_json, size
from holdfast.digests import Digest
from holdfast.errors import InvalidArgument, NotFound
from holdfast.moments import moment
from holdfast.service.backends import tended_store
from holdfast.service.commands.audited import audited
from holdfast.service.commands.options import with_settings
from holdfast.service.process import logs
from holdfast.service.settings import Settings, load
from holdfast.service.tenants.consent import confirm
from holdfast.storage.retained import Retained, RetentionMarker

app = typer.Typer(
    name="retained",
    help="Show the blobs that are kept though nobody holds them, and drop them.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

LINE: Final = "{:<71} {:>10} {:<23} {}"
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command("list")
@with_settings
def list_retained(
    options: Mapping[str, Any],
    *,
    after: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Begin after this digest.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many blobs.")] = None,
    as_json: Json = False,
) -> None:
    """List the blobs that nobody holds, their bytes, and since when, as the last gc found them."""
    begin = Digest.parse(after) if after else None
    settings = load(**options)
    logs.configure("warning", settings.log_format)
    if not as_json:
        typer.echo(LINE.format("DIGEST", "BYTES", "GIVEN UP", "").rstrip())
    with tended_store(settings, dry_run=True) as store:
        for marker, dropped in islice(_blobs(Retained(store).all(begin)), limit):
            if as_json:
                print_json(_object(marker, settings, dropped=dropped))
            else:
                typer.echo(_line(marker, dropped=dropped))


@app.command("drop")
@with_settings
def drop(
    options: Mapping[str, Any],
    *,
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="[DIGEST]...", help="The blobs.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Drop all of them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Let the next gc condemn blobs that nobody holds, however short the time since."""
    if everything == bool(digests):
        raise InvalidArgument("give the digests to drop, or --all")
    wanted = [Digest.parse(text) for text in digests or ()]
    settings = load(**options)
    logs.configure("warning", settings.log_format)
    _refuse_unknown(settings, wanted)
    what = "everything that nobody holds" if everything else ", ".join(map(str, wanted))
    confirm(
        f"Drop {what}? A node that wants it again must fetch it",
        f"{what} would be dropped",
        yes=yes,
    )
    count = total = 0
    with (
        audited(settings, "retained drop", target="all" if everything else "") as note,
        tended_store(settings, dry_run=False) as store,
    ):
        retained = Retained(store)
        for marker, dropped in _blobs(_chosen(retained, wanted)):
            if not dropped:
                retained.drop(marker)
                note(digest=str(marker.digest))
            count, total = count + 1, total + marker.size
            if as_json:
                print_json(_object(marker, settings, dropped=True))
    if not as_json:
        typer.echo(f"dropped {count:,}, {size(total)}; the next gc condemns what nobody holds")


def _chosen(retained: Retained, wanted: list[Digest]) -> Iterator[RetentionMarker]:
    if not wanted:
        yield from retained.all()
    for digest in wanted:
        yield from retained.find(digest)


def _refuse_unknown(settings: Settings, wanted: list[Digest]) -> None:
    """Refuses digests that no collection has found without a hold.

    Raises:
        NotFound: there is one.
    """
    with tended_store(settings, dry_run=True) as store:
        for digest in wanted:
            if not Retained(store).find(digest):
                raise NotFound(
                    f"{digest} isn't retained: it is held, or there is no such blob, or no gc has "
                    "run since it was given up; `holdfast retained list` shows those that are"
                )


def _blobs(markers: Iterable[RetentionMarker]) -> Iterator[tuple[RetentionMarker, bool]]:
    """Yields a marker of each blob, and whether it is dropped."""
    for _, group in groupby(markers, key=lambda marker: (marker.digest, marker.size)):
        found = list(group)
        yield found[0], any(marker.dropped for marker in found)


def _line(marker: RetentionMarker, *, dropped: bool) -> str:
    mark = "dropped" if dropped else ""
    return LINE.format(str(marker.digest), size(marker.size), moment(marker.at), mark).rstrip()


def _object(marker: RetentionMarker, settings: Settings, *, dropped: bool) -> dict[str, Any]:
    return {
        "digest": str(marker.digest),
        "size": marker.size,
        "since": marker.at,
        "until": marker.at + settings.retain_for,
        "dropped": dropped,
    }
