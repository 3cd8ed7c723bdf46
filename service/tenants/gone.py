"""Whether a tenant is still gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from storage.sightings import Sightings


@dataclass(frozen=True, slots=True)
class Gone:
    """Says that a tenant wasn't seen since a certain moment. Asks the store; blocking.

    Attributes:
        sightings: in the store.
        tenant: who.
        token: the tenant's, of that moment.
    """

    sightings: Sightings
    tenant: str
    token: str

    @classmethod
    def from_now_on(cls, sightings: Sightings, tenant: str) -> Self:
        """As of this moment."""
        return cls(sightings, tenant, sightings.token(tenant))

    def __call__(self) -> bool:
        """Whether it is so."""
        return self.sightings.token(self.tenant) == self.token
