"""Commands that move bytes: push and pull."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from holdfast.cli import output
from holdfast.cli.options import PATIENT, Json, parse_labels, with_store
from holdfast.cli.pull import pull_to_file, pull_to_stream
from holdfast.client import Committed, ContentStore
from holdfast.client.upload import Progress
from holdfast.digests import CANONICAL, Digest
from holdfast.errors import FailedPrecondition, InvalidArgument

STDIN: Final = "-"
CHUNK: Final = 2**20


@with_store(PATIENT)
def push(
    store: ContentStore,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Files, folders with all they hold, or - for stdin."),
    ],
    *,
    labels: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label of each.")
    ] = None,
    ref: Annotated[
        str | None,
        typer.Option(help="Name of the ingest: the same carries on, for stdin too. One source."),
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="Digest of the one source: spares hashing, is checked.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring files in; what the store has isn't sent, and what was begun is carried on."""
    wanted = parse_labels(labels or [])
    known = Digest.parse(digest) if digest else None
    files = list(_files(sources))
    if (ref or known) and len(files) != 1:
        raise InvalidArgument(f"--ref and --digest take one source; {len(files)} were given")
    with output.progress_bars() as bars:
        for file in files:
            if file == STDIN:
                tell = bars.bar("stdin", 0)
                committed = store.push(
                    sys.stdin.buffer, ref=ref, digest=known, labels=wanted, progress=tell
                )
            else:
                committed = _push_file(
                    store, Path(file), bars, ref=ref, digest=known, labels=wanted
                )
            _print(committed, file, json)


def _push_file(
    store: ContentStore,
    path: Path,
    bars: output.Bars,
    *,
    ref: str | None,
    digest: Digest | None,
    labels: dict[str, str],
) -> Committed:
    size = path.stat().st_size
    digest = digest or _hash(path, bars.bar(f"{path.name}: hashing", size))
    tell = bars.bar(path.name, size)
    return store.push(path, ref=ref, digest=digest, labels=labels, progress=tell)


def _hash(path: Path, tell: Progress) -> Digest:
    running, done = hashlib.new(CANONICAL), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            running.update(chunk)
            done += len(chunk)
            tell(done, 0)
    return Digest(CANONICAL, running.hexdigest())


def _files(sources: list[str]) -> Iterator[str]:
    """Every file that is meant, folders in a stable order.

    Raises:
        OSError: one isn't there.
        FailedPrecondition: one is neither a file nor a folder.
    """
    for source in sources:
        if source == STDIN:
            yield source
            continue
        mode = Path(source).stat().st_mode
        if stat.S_ISDIR(mode):
            yield from _walk(source)
        elif stat.S_ISREG(mode):
            yield source
        else:
            raise FailedPrecondition(
                f"{source} is neither a file nor a folder; to push a pipe, give it as stdin and -"
            )


def _walk(folder: str) -> Iterator[str]:
    for where, folders, files in os.walk(folder, onerror=_refuse):
        folders.sort()
        for name in sorted(files):
            path = Path(where, name)
            if path.is_file():
                yield str(path)


def _refuse(error: OSError) -> None:
    raise error


def _print(committed: Committed, source: str, json: bool) -> None:
    if json:
        output.print_json(output.committed_object(committed, source))
        return
    note = "  (already there)" if committed.already_there else ""
    typer.echo(f"{committed.digest}  {output.size(committed.size)}  {source}{note}")


@with_store(PATIENT)
def pull(
    store: ContentStore,
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="<algorithm>:<hex>.")],
    target: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to; - for stdout; by default the digest."
        ),
    ] = None,
) -> None:
    """Fetch a blob, verified; a partial FILE.part is carried on."""
    wanted = Digest.parse(digest)
    with output.progress_bars() as bars:
        tell = bars.bar(str(wanted)[:19], 0)
        if target == STDIN:
            pull_to_stream(store, wanted, sys.stdout.buffer, tell)
            return
        path = Path(target or f"{wanted.algorithm}-{wanted.hex}")
        if path.is_dir():
            path /= f"{wanted.algorithm}-{wanted.hex}"
        size = pull_to_file(store, wanted, path, tell)
    typer.echo(f"{wanted}  {output.size(size)}  {path}")
