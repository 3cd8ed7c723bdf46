"""Commands on what is held: ls, info, label, rm."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Final

import typer

from holdfast.cli import output
from holdfast.cli.digests import resolve
from holdfast.cli.options import QUICK, Json, parse_labels, with_store
from holdfast.client import ContentStore
from holdfast.moments import moment
from holdfast.values import Info

DIGEST = Annotated[
    str,
    typer.Argument(
        metavar="DIGEST", help="A digest, <algorithm>:<hex>, or its beginning if that is unique."
    ),
]
DIGEST_WIDTH: Final = len("sha256:") + 64
MOMENT_WIDTH: Final = len(moment(0))
AT_ONCE: Final = 50
"""How many digests one List asks for."""


@with_store(QUICK)
def ls(
    store: ContentStore,
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER",
            help="Filters as in containerd, such as labels.key==value or digest~=/^sha256:ab/. "
            "What matches any of them is listed.",
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
    output.print_rows(
        ("DIGEST", "SIZE", "CREATED", "LABELS"),
        (DIGEST_WIDTH, 10, MOMENT_WIDTH, 0),
        (
            (
                str(info.digest),
                output.size(info.size),
                moment(info.created_at),
                ", ".join(f"{key}={value}" for key, value in sorted(info.labels.items())),
            )
            for info in found
        ),
    )


@with_store(QUICK)
def info(store: ContentStore, digest: DIGEST, json: Json = False) -> None:
    """Show what the tenant holds of one digest."""
    _print(store.info(resolve(store, digest)), json)


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
    changes = parse_labels(labels)
    _print(store.update(resolve(store, digest), changes), json)


@with_store(QUICK)
def rm(
    store: ContentStore,
    digests: Annotated[
        list[str],
        typer.Argument(
            metavar="DIGEST",
            help="A digest, <algorithm>:<hex>, or its beginning if that is unique.",
        ),
    ],
) -> None:
    """Give up the tenant's holds; a digest without a hold is reported, and is no error."""
    # Nothing is removed if any of them is malformed or ambiguous.
    wanted = iter([resolve(store, text) for text in digests])
    while some := list(islice(wanted, AT_ONCE)):
        held = {info.digest for info in store.list(*(f"digest=={digest}" for digest in some))}
        for digest in some:
            store.delete(digest)
            if digest in held:
                typer.echo(digest)
            else:
                typer.echo(f"holdfast: {digest} was not held", err=True)


def _print(info: Info, json: bool) -> None:
    found = output.info_object(info)
    if json:
        output.print_json(found)
        return
    labels = found.pop("labels")
    found["size"] = f"{info.size} ({output.size(info.size)})"
    found["created_at"], found["updated_at"] = moment(info.created_at), moment(info.updated_at)
    rows = [(name, str(value)) for name, value in found.items()]
    rows += [(f"label {key}", value) for key, value in sorted(labels.items())]
    output.print_table(("", ""), rows)
