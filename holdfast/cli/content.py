"""Commands on what is held: ls, info, label, rm."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import output
from holdfast.cli.options import QUICK, Json, parse_labels, with_store
from holdfast.client import ContentStore
from holdfast.digests import Digest
from holdfast.values import Info

DIGEST = Annotated[str, typer.Argument(metavar="DIGEST", help="<algorithm>:<hex>.")]


@with_store(QUICK)
def ls(
    store: ContentStore,
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER",
            help="As containerd's: labels.key==value, digest~=/^sha256:ab/, …; any may match.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List what the tenant holds; with --json one object per line."""
    found = store.list(*(filters or ()))
    if json:
        for info in found:
            output.print_json(output.info_object(info))
        return
    output.print_table(
        ("DIGEST", "SIZE", "CREATED", "LABELS"),
        (
            (
                str(info.digest),
                output.size(info.size),
                f"{info.created_at:%Y-%m-%d %H:%M:%S}",
                ", ".join(f"{key}={value}" for key, value in sorted(info.labels.items())),
            )
            for info in found
        ),
    )


@with_store(QUICK)
def info(store: ContentStore, digest: DIGEST, json: Json = False) -> None:
    """Show what the tenant holds of one digest."""
    _print(store.info(digest), json)


@with_store(QUICK)
def label(
    store: ContentStore,
    digest: DIGEST,
    labels: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE", help="Labels to set; KEY= removes one."),
    ],
    json: Json = False,
) -> None:
    """Set and remove labels."""
    _print(store.update(digest, parse_labels(labels)), json)


@with_store(QUICK)
def rm(
    store: ContentStore,
    digests: Annotated[list[str], typer.Argument(metavar="DIGEST", help="<algorithm>:<hex>.")],
) -> None:
    """Give up the tenant's holds; unknown digests are no error."""
    # None is removed if one of them is malformed.
    for digest in [Digest.parse(text) for text in digests]:
        store.delete(digest)
        typer.echo(digest)


def _print(info: Info, json: bool) -> None:
    found = output.info_object(info)
    if json:
        output.print_json(found)
        return
    labels = found.pop("labels")
    found["size"] = f"{info.size} ({output.size(info.size)})"
    rows = [(name, str(value)) for name, value in found.items()]
    rows += [(f"label {key}", value) for key, value in sorted(labels.items())]
    output.print_table(("", ""), rows)
