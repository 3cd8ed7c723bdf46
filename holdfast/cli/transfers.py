"""Commands that move bytes: push and pull."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from holdfast.cli import output
from holdfast.cli.digests import resolve
from holdfast.cli.options import PATIENT, Json, parse_labels, with_store
from holdfast.cli.pull import pull_to_file, pull_to_stream, target_of
from holdfast.cli.pushing import Pushing, Wanted, finish
from holdfast.cli.sources import STDIN, find
from holdfast.client import ContentStore
from holdfast.digests import Digest
from holdfast.errors import InvalidArgument

JOBS: Final = 8
"""Files pushed at once by default: small ones wait for the store most of the time, and a few
large ones already fill a network link."""


@with_store(PATIENT)
def push(
    store: ContentStore,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Files, folders with all that is in them, or - for stdin."
        ),
    ],
    *,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "-l", metavar="KEY=VALUE", help="A label for each blob; repeatable."
        ),
    ] = None,
    label_path: Annotated[
        str,
        typer.Option(
            metavar="KEY", help="Give each blob a label with this key and its path, as printed."
        ),
    ] = "",
    ref: Annotated[
        str | None,
        typer.Option(
            help="Ref of the ingest, for a single source: with the same ref, another push "
            "continues it, from stdin too."
        ),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            help="Digest of a single source, which is checked, but needn't be computed first."
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, max=256, help="Number of files that are pushed concurrently."
        ),
    ] = JOBS,
    json: Json = False,
) -> None:
    """Push files; what the store has isn't sent, and what was begun is continued."""
    wanted = Wanted(
        labels=parse_labels(labels or []),
        ref=ref,
        digest=Digest.parse(digest) if digest else None,
        label_path=label_path,
    )
    with output.progress_bars() as bars:
        pushing = Pushing(store, wanted, bars, json=json, jobs=jobs)
        files = list(find(sources, pushing.skip, pushing.fail))
        if (ref or digest) and len(files) != 1:
            raise InvalidArgument(f"--ref and --digest take one source; {len(files)} were given")
        if files:
            pushing(files)
    finish(pushing, len(files))


@with_store(PATIENT)
def pull(
    store: ContentStore,
    digest: Annotated[
        str,
        typer.Argument(
            metavar="DIGEST",
            help="A digest, <algorithm>:<hex>, or its beginning if that is unique.",
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write, or - for stdout. By default, the digest is its name.",
        ),
    ] = None,
) -> None:
    """Fetch a blob and verify it; a partial FILE.part is continued."""
    wanted = resolve(store, digest)
    with output.progress_bars() as bars:
        tell = bars.bar(str(wanted)[:19], 0)
        if target == STDIN:
            pull_to_stream(store, wanted, sys.stdout.buffer, tell)
            return
        path = Path(target or f"{wanted.algorithm}-{wanted.hex}")
        if path.is_dir():
            path /= f"{wanted.algorithm}-{wanted.hex}"
        file = target_of(path)
        if file is None:
            with path.open("wb", buffering=0) as stream:
                size = pull_to_stream(store, wanted, stream, tell)
        else:
            size = pull_to_file(store, wanted, file, tell)
    typer.echo(output.printable(f"{wanted}  {output.size(size)}  {path}"))
