"""Who holds a blob: two short listings for each tenant, since holds are kept by tenant.

All holds that name the blob are listed and counted. The collector's rehearsal is given the first of
them, and only those of the first tenants are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import HoldfastError, because
from holdfast.service.explain.facts import HolderFacts, HoldersFacts
from holdfast.storage.holds import Holds, merged, speaking
from holdfast.storage.keys import DELETING, hold_prefix, uuid7
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.tenants import holding_tenants, is_tenant

BATCH: Final = 64
"""Tenants that are looked at together."""
MOST_READ: Final = 1000
"""Holds of one tenant on one blob that are read, one after another: some ten seconds. A frontend
that finds more than four joins them."""


KEPT: Final = 50_000
"""Holds and marks that the collector's rehearsal is given, some 20 MB. It asks whether anybody
holds the blob, for which one hold is as good as a million."""


@dataclass(frozen=True, slots=True)
class BlobHolders:
    """Who holds a blob, and what is listed of its holds and marks: of a tenant all, or nothing.

    If somebody holds it, there is a hold among the entries.
    """

    facts: HoldersFacts
    entries: tuple[Entry, ...]


class Holders:
    """Finds those who hold a blob. Blocking."""

    def __init__(self, store: ObjectStore, pool: ThreadPoolExecutor) -> None:
        """Makes no requests yet.

        Args:
            store: has the holds.
            pool: makes requests concurrently.
        """
        self._store = store
        self._pool = pool
        self._holds = Holds(store, uuid7, new_nonce)

    def find(
        self,
        digest: Digest,
        tenants: Iterable[str] | None,
        most: int,
        looked: Callable[[int], None],
    ) -> BlobHolders:
        """Returns who holds a digest.

        Args:
            digest: of the blob.
            tenants: the tenants to look at; None: all that hold anything.
            most: how many of them are named, with what they hold.
            looked: called with how many tenants were looked at so far.

        Raises:
            Unavailable: the store can't be reached.
        """
        named: list[HolderFacts] = []
        entries: list[Entry] = []
        holders = holds = deleting = 0
        for tenant, found in self._groups(digest, tenants, looked):
            marked = _deleting(found)
            first = len(found) > marked and not holds
            if first or len(entries) < KEPT:
                entries += found
            holders, deleting = holders + 1, deleting + marked
            holds += len(found) - marked
            if len(named) < most:
                named.append(self._read(tenant, found))
        facts = HoldersFacts(holders, holds, deleting, tuple(named))
        return BlobHolders(facts, tuple(entries))

    def _groups(
        self, digest: Digest, tenants: Iterable[str] | None, looked: Callable[[int], None]
    ) -> Iterator[tuple[str, list[Entry]]]:
        """Yields the tenants that have a hold or a mark on the digest, and what is listed."""
        all_of_them = holding_tenants(self._store) if tenants is None else tenants
        names = filter(is_tenant, all_of_them)
        count = 0
        while batch := list(islice(names, BATCH)):
            listed = self._pool.map(
                lambda tenant: list(self._store.list(hold_prefix(tenant, digest))), batch
            )
            for tenant, found in zip(batch, listed, strict=True):
                if found:
                    yield tenant, found
            count += len(batch)
            looked(count)

    def _read(self, tenant: str, found: list[Entry]) -> HolderFacts:
        marked = _deleting(found)
        facts = HolderFacts(tenant, len(found) - marked, marked)
        if len(found) > MOST_READ:
            why = f"{facts.holds:,} holds and {marked:,} being deleted are too many to be read"
            return HolderFacts(tenant, facts.holds, marked, error=why)
        try:
            loaded = self._holds.load(found)
        except HoldfastError as error:
            return HolderFacts(tenant, facts.holds, marked, error=because(error))
        if not loaded:
            why = "all are being deleted" if not facts.holds else "none can be read: damaged"
            return HolderFacts(tenant, facts.holds, marked, error=why)
        info = merged(loaded)
        return HolderFacts(
            tenant,
            facts.holds,
            marked,
            created_at=info.created_at_ns / 1e9,
            updated_at=info.updated_at_ns / 1e9,
            labels=dict(speaking(loaded).hold.labels),
        )


def _deleting(found: list[Entry]) -> int:
    """Returns how many of these are marks, or holds beside which there is one."""
    keys = {entry.key for entry in found}
    return sum(1 for key in keys if key.endswith(DELETING) or key + DELETING in keys)
