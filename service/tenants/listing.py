"""Lists what all tenants hold, tenant by tenant, in one pass over all holds.

A blob's size is in its holds, which must be read for it. The tenants of a fleet hold much the
same blobs, so sizes are remembered by digest: of the many holds on a digest, mostly one is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final

from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.storage import documents
from holdfast.storage.holds import Hold
from holdfast.storage.keys import DELETING, HOLDS, hold_digest
from holdfast.storage.port import Entry, NoSuchKey, ObjectStore
from holdfast.storage.sightings import Sighted, Sightings
from holdfast.storage.spool import joined
from holdfast.storage.tenants import is_tenant, order_of

REMEMBERED: Final = 200_000
"""Digests whose sizes are remembered: some 50 MB."""
BATCH: Final = 1000
"""Digests whose sizes are summed up at once."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a tenant holds.

    Attributes:
        tenant: the tenant's name.
        digests: how many digests it holds, including those without content.
        bytes: the size of their blobs together; None if sizes weren't asked for.
        seen_at: when it was last seen, in s since 1970 by the store's clock; None: never.
        missing_since: when an expiry marked it as missing; None: it isn't, or was seen since.
        unread: digests whose size isn't known, because no hold on them can be read.
    """

    tenant: str
    digests: int
    bytes: int | None
    seen_at: float | None
    missing_since: float | None
    unread: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns the summary for JSON."""
        return {
            "tenant": self.tenant,
            "digests": self.digests,
            "bytes": self.bytes,
            "seen_at": self.seen_at,
            "missing_since": self.missing_since,
            "unread": self.unread,
        }


class Listing:
    """The tenants of one store. For one thread; its memory is bounded, however many there are."""

    def __init__(
        self, store: ObjectStore, sightings: Sightings, pool: ThreadPoolExecutor, *, sizes: bool
    ) -> None:
        """Asks the store for nothing yet.

        Args:
            store: the store that has the tenants.
            sightings: the sightings in the store.
            pool: reads holds.
            sizes: whether to find out how many bytes each tenant holds.
        """
        self._store = store
        self._sightings = sightings
        self._pool = pool
        self._sizes = sizes
        self._known: OrderedDict[str, int] = OrderedDict()

    def summaries(self) -> Iterator[Summary]:
        """Yields all tenants that have holds or were ever seen, in order of `<name>/`."""
        groups = groupby(self._store.list(HOLDS), key=_tenant_of)
        held = (self._held(tenant, group) for tenant, group in groups if is_tenant(tenant))
        seen = (sighted for sighted in self._sightings.all() if is_tenant(sighted.tenant))
        order_held: Callable[[TenantHolds], bytes] = lambda found: order_of(found.tenant)  # noqa: E731
        for found, sighted in joined(held, seen, order_held, lambda item: order_of(item.tenant)):
            yield self._summary(found, sighted)

    def _summary(self, held: TenantHolds | None, sighted: Sighted | None) -> Summary:
        seen = sighted.seen if sighted else None
        return Summary(
            tenant=held.tenant if held else sighted.tenant if sighted else "",
            digests=held.digests if held else 0,
            bytes=(held.bytes if held else 0) if self._sizes else None,
            seen_at=seen.last_modified if seen else None,
            missing_since=self._missing_since(sighted) if sighted else None,
            unread=held.unread if held else 0,
        )

    def _missing_since(self, sighted: Sighted) -> float | None:
        missing = self._sightings.missing(sighted.tenant) if sighted.missing else None
        return missing.at if missing and missing.seen == sighted.token else None

    def _held(self, tenant: str, entries: Iterable[Entry]) -> TenantHolds:
        held = TenantHolds(tenant)
        digests = groupby(entries, key=_digest_of)
        groups = ([entry.key for entry in group] for digest, group in digests if digest)
        while batch := list(islice(groups, BATCH)):
            held.digests += len(batch)
            if self._sizes:
                self._add_sizes(held, batch)
        return held

    def _add_sizes(self, held: TenantHolds, groups: list[list[str]]) -> None:
        unknown = []
        for keys in groups:
            size = self._known.get(_digest_text(keys[0]))
            if size is None:
                unknown.append(keys)
            else:
                self._known.move_to_end(_digest_text(keys[0]))
                held.bytes += size
        for keys, size in zip(unknown, self._pool.map(self._read, unknown), strict=True):
            if size is None:
                held.unread += 1
                continue
            held.bytes += size
            self._known[_digest_text(keys[0])] = size
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _read(self, keys: list[str]) -> int | None:
        for key in keys:
            if not key.endswith(DELETING):
                try:
                    return documents.read(self._store, key, Hold.decode)[0].size
                except (NoSuchKey, DataLoss, UnsupportedFormat):
                    continue
        return None


@dataclass(slots=True)
class TenantHolds:
    """What was counted of one tenant's holds."""

    tenant: str
    digests: int = 0
    bytes: int = 0
    unread: int = 0


def _tenant_of(entry: Entry) -> str:
    tenant, slash, _ = entry.key.removeprefix(HOLDS).partition("/")
    return tenant if slash else ""


def _digest_of(entry: Entry) -> str:
    """Returns the digest that a hold is on; "" if the key isn't a hold's."""
    try:
        hold_digest(entry.key)
    except DataLoss:
        return ""
    return _digest_text(entry.key)


def _digest_text(key: str) -> str:
    return "/".join(key.split("/")[2:4])
