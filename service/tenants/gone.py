"""Whether a tenant is still gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from holdfast.storage.sightings import Sightings


@dataclass(frozen=True, slots=True)
class Gone:
    """Says that a tenant wasn't seen since a certain moment. Asks the store; blocking.

    A frontend that can't note a tenant makes its promises if the tenant isn't marked
    missing. So the mark must still stand, too: another expiry may have taken it away.

    Attributes:
        sightings: in the store.
        tenant: who.
        token: the tenant's, of that moment.
        mark: ETag of the mark by which it is missing; None: it was named by hand.
    """

    sightings: Sightings
    tenant: str
    token: str
    mark: str | None = None

    @classmethod
    def from_now_on(cls, sightings: Sightings, tenant: str) -> Self:
        """As of this moment."""
        return cls(sightings, tenant, sightings.token(tenant))

    def __call__(self) -> bool:
        """Whether it is so."""
        if self.sightings.token(self.tenant) != self.token:
            return False
        return self.mark is None or self.sightings.mark(self.tenant) == self.mark
