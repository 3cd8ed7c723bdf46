"""Who has holds, by the holds alone, and who was ever seen."""

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
"""What follows all keys below a folder."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, as the store alone knows it."""

    name: str
    holds: bool
    sighted: Sighted


def holding_tenants(store: ObjectStore) -> Iterator[str]:
    """The tenants that have a hold, in order of `<name>/`: one short listing for each.

    Whoever had a confirmed hold before this began, and has it still, is among them.
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
    """Who has holds or was ever seen, in order of `<name>/`, fetched as it is consumed.

    What can't be a tenant by its name is passed over: somebody else put it there.
    """
    holders = holding_tenants(store)
    for holder, sighted in joined(
        holders, sightings.all(), order_of, lambda known: order_of(known.tenant)
    ):
        found = sighted or Sighted(holder or "", None, None)
        if is_tenant(found.tenant):
            yield Tenant(found.tenant, holder is not None, found)


def order_of(tenant: str) -> bytes:
    """By what listings sort tenants: as the folders that they are, `a-b` before `a`."""
    return f"{tenant}/".encode()


def is_tenant(name: str) -> bool:
    """Whether something can be a tenant's name."""
    try:
        check_tenant(name)
    except InvalidArgument:
        return False
    return True
