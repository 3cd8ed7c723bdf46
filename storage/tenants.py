"""Which tenants have holds, by the holds alone, and which were ever seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from holdfast.errors import InvalidArgument
from holdfast.storage.keys import HOLDS
from holdfast.storage.port import ObjectStore
from holdfast.storage.sightings import Sighted, Sightings
from holdfast.storage.spool import joined
from holdfast.values import check_tenant

AFTER_SLASH: Final = chr(ord("/") + 1)
"""With this in place of its slash, a folder's name sorts after all keys below the folder."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, as the store alone knows it."""

    name: str
    holds: bool
    sighted: Sighted


def holding_tenants(store: ObjectStore) -> Iterator[str]:
    """The tenants that have a hold, in order of `<name>/`: one short listing for each.

    A tenant is included if it had a confirmed hold before this began, and still has it.
    """
    after = ""
    while True:
        entry = next(iter(store.list(HOLDS, after)), None)
        if entry is None:
            return
        tenant, slash, _ = entry.key.removeprefix(HOLDS).partition("/")
        if slash:
            yield tenant
        after = f"{HOLDS}{tenant}{AFTER_SLASH}" if slash else entry.key


def known_tenants(store: ObjectStore, sightings: Sightings) -> Iterator[Tenant]:
    """The tenants that have holds or were ever seen, in order of `<name>/`, fetched when consumed.

    A name that can't be a tenant's is skipped: somebody else put it there.
    """
    holders = holding_tenants(store)
    for holder, sighted in joined(
        holders, sightings.all(), order_of, lambda known: order_of(known.tenant)
    ):
        found = sighted or Sighted(holder or "", None, None)
        if is_tenant(found.tenant):
            yield Tenant(found.tenant, holder is not None, found)


def order_of(tenant: str) -> bytes:
    """The order in which listings sort tenants: as folders, so `a-b` comes before `a`."""
    return f"{tenant}/".encode()


def is_tenant(name: str) -> bool:
    """Whether a name can be a tenant's."""
    try:
        check_tenant(name)
    except InvalidArgument:
        return False
    return True
