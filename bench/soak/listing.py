"""What a listing must show, and what must not be in it."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.soak.oracle import Oracle, State
from holdfast import ContentStore
from holdfast.digests import Digest

Misread = Callable[[float, str, Digest], bool]
"""Whether something of a tenant's blob came back wrong since a moment, by the monotonic clock."""


def nothing_misread(since: float, tenant: str, digest: Digest) -> bool:
    """Nothing spoils what is read."""
    del since, tenant, digest
    return False


def check_list(
    oracle: Oracle, store: ContentStore, tenant: str, misread: Misread = nothing_misread
) -> None:
    """Compares a listing with what the tenant may count on."""
    before, began = oracle.seen(tenant), time.monotonic()
    listed = {info.digest: info for info in store.list()}
    for seen in before:
        claim, info = seen.claim, listed.get(seen.claim.content.digest)
        if not seen.unmoved():
            continue
        if seen.state is State.HELD and info is None:
            if misread(began, tenant, claim.content.digest):
                oracle.count("misread: left out of a list")
            else:
                oracle.violation("held, and isn't listed", claim)
        elif seen.state is State.HELD and info and info.size != claim.content.size:
            oracle.violation(f"listed with {info.size} bytes", claim)
        elif seen.state is State.ABSENT and info is not None and seen.version:
            if claim.tainted:
                oracle.came_back()
            else:
                oracle.violation("deleted, and is listed", claim)
    oracle.count("list")
