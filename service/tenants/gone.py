"""Checks whether a tenant is still gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from holdfast.storage.sightings import Sightings


@dataclass(frozen=True, slots=True)
class Gone:
    """Checks in the store that a tenant wasn't seen since a certain moment. Blocking.

    A frontend that can't note a tenant still makes promises to it, if the tenant isn't marked
    as missing. So the mark must still be there, too: another expiry may have removed it.

    Attributes:
        sightings: the sightings in the store.
        tenant: the tenant's name.
        token: the tenant's token at that moment.
        mark: ETag of the mark that says that it is missing; None: an operator named the tenant.
    """

    sightings: Sightings
    tenant: str
    token: str
    mark: str | None = None

    @classmethod
    def from_now_on(cls, sightings: Sightings, tenant: str) -> Self:
        """Returns a check that the tenant isn't seen after this moment."""
        return cls(sightings, tenant, sightings.token(tenant))

    def __call__(self) -> bool:
        """Returns whether the tenant is still gone."""
        if self.sightings.token(self.tenant) != self.token:
            return False
        return self.mark is None or self.sightings.mark(self.tenant) == self.mark
