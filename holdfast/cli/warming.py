"""warm: has the fleet keep blobs that nobody holds, and copies those that it lacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from holdfast.cli import output
from holdfast.cli.exit_codes import ERROR, exit_code
from holdfast.cli.options import PATIENT, Json, Target, with_store
from holdfast.cli.sources import STDIN
from holdfast.client import ContentStore
from holdfast.digests import Digest
from holdfast.errors import BeingWritten, HoldfastError, NotFound, reported

TENANT: Final = "warm"
"""The tenant that holds what is copied until it is complete; no node should have this name."""
COPIED: Final = "holdfast.warm"
"""The label of a hold that a copy has made, by which another run recognizes what was left."""
JOBS: Final = 4
"""Blobs that are copied at once."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """A blob that the fleet keeps now: its bytes, and those that were copied."""

    digest: Digest
    size: int
    sent: int = 0


@with_store(PATIENT, TENANT)
def warm(
    store: ContentStore,
    digests: Annotated[
        list[str],
        typer.Argument(metavar="DIGEST", help="Digests, or - for a list on standard input."),
    ],
    *,
    target: Target,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="ADDRESS",
            help="Another fleet, which has what is missing; the same TLS options and token apply.",
        ),
    ] = None,
    source_tenant: Annotated[
        str | None,
        typer.Option("--from-tenant", metavar="TENANT", help="The tenant that reads there."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=64, help="Number of blobs at once.")
    ] = JOBS,
    json: Json = False,
) -> None:
    """Retain blobs anew, as if they had just been given up, for nodes that will want them.

    With --from, blobs that the fleet lacks are copied from another one; what was begun is
    continued. Until a copy is complete, the tenant holds it: one that no node uses, by default
    "warm".
    """
    wanted = [Digest.parse(text) for text in _texts(digests)]
    with output.progress_bars() as bars:
        if source is None:
            failed = _all(Warmer(store, None, bars), wanted, jobs, bars, json=json)
        else:
            with target.elsewhere(source, source_tenant).store(PATIENT) as other:
                failed = _all(Warmer(store, other, bars), wanted, jobs, bars, json=json)
    if failed:
        codes = {exit_code(error) for error in failed}
        raise typer.Exit(codes.pop() if len(codes) == 1 else ERROR)


class Warmer:
    """Warms blobs in one fleet; copies what is missing from another one, if there is one."""

    def __init__(self, store: ContentStore, source: ContentStore | None, bars: output.Bars) -> None:
        self._store = store
        self._source = source
        self._bars = bars

    def __call__(self, digest: Digest) -> Warmed:
        """Warms a blob.

        Raises:
            NotFound: neither fleet has it.
            HoldfastError: as a frontend says.
        """
        try:
            size = self._store.warm(digest)
        except NotFound:
            if self._source is None:
                raise
            return self._copy(self._source, digest)
        if self._source is not None:
            self._give_up_left(digest)
        return Warmed(digest, size)

    def _give_up_left(self, digest: Digest) -> None:
        """Gives up the hold of a copy whose end was interrupted, and no other."""
        for held in self._store.list(f"digest=={digest}"):
            if COPIED in held.labels:
                self._store.delete(digest)

    def _copy(self, source: ContentStore, digest: Digest) -> Warmed:
        size = _size_of(source, digest)
        name = str(digest)[:19]
        bar = self._bars.begin(name, size)

        def waits(ahead: BeingWritten) -> None:
            bar.describe(f"{name}: waiting for {ahead.leader}: {ahead.percent} %")

        def tell(at: int, whole: int) -> None:
            bar.describe(name)
            bar.tell(at, whole)

        try:
            with source.open(digest, size=size) as blob:
                pushed = self._store.push(
                    blob, digest=digest, labels={COPIED: "copied"}, progress=tell, waits=waits
                )
        finally:
            bar.end()
        self._store.warm(digest)
        self._store.delete(digest)
        return Warmed(digest, size, pushed.sent)


def _size_of(source: ContentStore, digest: Digest) -> int:
    """Returns a blob's bytes, without becoming a holder of it.

    Raises:
        NotFound: the tenant can't read such a blob there.
    """
    for held in source.list(f"digest=={digest}"):
        return held.size
    return source.warm(digest)


def _all(
    warmer: Warmer, wanted: list[Digest], jobs: int, bars: output.Bars, *, json: bool
) -> list[HoldfastError]:
    """Warms blobs, several at once; reports them in their order, and returns what failed."""
    failed = []
    with ThreadPoolExecutor(jobs, "warm") as pool:
        futures = [pool.submit(warmer, digest) for digest in wanted]
        try:
            for digest, future in zip(wanted, futures, strict=True):
                try:
                    _report(future, bars, json=json)
                except HoldfastError as error:
                    failed.append(error)
                    bars.say(f"holdfast: {digest}: {reported(error)}")
        except BaseException:
            pool.shutdown(cancel_futures=True, wait=False)
            raise
    return failed


def _report(future: Future[Warmed], bars: output.Bars, *, json: bool) -> None:
    warmed = future.result()
    if json:
        output.print_json(_object(warmed))
        return
    note = f"  (copied {output.size(warmed.sent)})" if warmed.sent else ""
    bars.result(f"{warmed.digest}  {output.size(warmed.size)}{note}")


def _object(warmed: Warmed) -> dict[str, Any]:
    return {"digest": str(warmed.digest), "size": warmed.size, "sent": warmed.sent}


def _texts(digests: Iterable[str]) -> Iterator[str]:
    for text in digests:
        if text == STDIN:
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield text
