"""`holdfast check`: does what a client does, and removes what it has left.

It writes half of a new blob, breaks off, continues over a connection of its own, and reads the
whole. So it shows that the address leads to frontends that know this client as a tenant, and that
they share what they have received.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Final

import typer

from holdfast.cli import output
from holdfast.cli.options import PATIENT, Json, Target, with_store
from holdfast.client import ContentStore
from holdfast.digests import Digest
from holdfast.errors import DataLoss, HoldfastError

LARGEST: Final = 2**30
"""Bytes; they are kept in memory."""


@with_store(PATIENT)
def check(
    store: ContentStore,
    target: Target,
    size: Annotated[int, typer.Option("--size", min=2, max=LARGEST, help="Bytes to write.")] = 24
    * 2**20,
    json: Json = False,
) -> None:
    """Write a blob, break off, resume, read and remove it: does all of a client's way work?"""
    data = secrets.token_bytes(size)
    digest = Digest.of(data)
    ref = f"check-{digest.hex[:16]}"
    steps: list[dict[str, object]] = []

    def step(name: str, action: Callable[[], str]) -> None:
        began = time.monotonic()
        found = action()
        steps.append({"step": name, "found": found, "seconds": round(time.monotonic() - began, 3)})
        if not json:
            typer.echo(f"{name}: {found} ({steps[-1]['seconds']} s)")

    try:
        step("written", lambda: _begin(target, ref, data))
        step("resumed", lambda: _finish(store, ref, data, digest))
        step("read", lambda: _read(store, digest, len(data)))
        step("removed", lambda: _remove(store, digest))
    except BaseException:
        _tidy(store, ref, digest)
        raise
    if json:
        output.print_json({"ok": True, "digest": str(digest), "size": len(data), "steps": steps})
    else:
        typer.echo("All of it works.")


def _begin(target: Target, ref: str, data: bytes) -> str:
    """Writes the first half over a connection that then ends, as that of a client that dies."""
    half = len(data) // 2
    with target.store(PATIENT) as other, other.writer(ref, total=len(data)) as writer:
        writer.write(data[:half])
        writer.flush()
    return f"{output.size(half)} of {output.size(len(data))}, then broken off"


def _finish(store: ContentStore, ref: str, data: bytes, digest: Digest) -> str:
    """Continues where the store says, and commits.

    Raises:
        DataLoss: the store kept nothing, or more than it was sent.
    """
    with store.writer(ref, total=len(data), expected=digest) as writer:
        at = writer.offset
        if not 0 < at <= len(data) // 2:
            raise DataLoss(f"{len(data) // 2} bytes were written, and the store continues at {at}")
        writer.write(data[at:])
        writer.commit(str(digest))
    return f"at {output.size(at)}, and committed"


def _read(store: ContentStore, digest: Digest, size: int) -> str:
    """Reads everything, which the client compares with the digest.

    Raises:
        DataLoss: these are other bytes.
    """
    count = len(store.get(digest))
    if count != size:
        raise DataLoss(f"{digest} has {size} bytes, and {count} were read")
    return f"{output.size(count)} as they were written"


def _remove(store: ContentStore, digest: Digest) -> str:
    """Gives the blob up.

    Raises:
        DataLoss: the tenant holds it all the same.
    """
    store.delete(digest)
    if any(True for _ in store.list(f"digest=={digest}")):
        raise DataLoss(f"{digest} was deleted, and the tenant still holds it")
    return "the tenant doesn't hold it any more"


def _tidy(store: ContentStore, ref: str, digest: Digest) -> None:
    """Removes what a check that failed has left, as far as that is possible."""
    with suppress(HoldfastError):
        store.abort(ref)
    with suppress(HoldfastError):
        store.delete(digest)
