"""Stops an expiry before it does anything, if it would drop many tenants: it may be mistaken.

Tenants seem to be gone if a list lacks most of the fleet (because it is another cluster's, or
incomplete), if a listing left out sightings, or if a clock has jumped. So a run is planned before
it acts, and a run that goes too far does nothing unless an operator accepts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.errors import FailedPrecondition

FEW: Final = 3
"""Tenants that may always be dropped, or be absent from a list, however small the fleet is."""
DROPPED: Final = 0.05
"""Largest share of the tenants that one run drops: nodes leave one by one."""
UNLISTED: Final = 0.5
"""Largest share of the tenants that the list of existing tenants may lack."""


class ExpiryBraked(FailedPrecondition):
    """A run would have gone too far, and has done nothing."""


@dataclass(frozen=True, slots=True)
class ExpiryPlan:
    """The number of tenants that a run would affect.

    Attributes:
        tenants: tenants that have holds, and that the rules concern.
        unlisted: those of them that the list of existing tenants doesn't name.
        dropped: those of them that this run would drop.
    """

    tenants: int
    unlisted: int
    dropped: int

    def excess(self) -> ExpiryBraked | None:
        """Returns why the run goes too far, or None if it may act."""
        if self._exceeds(self.unlisted, UNLISTED):
            return ExpiryBraked(
                f"--existing doesn't name {self.unlisted} of {self.tenants} tenants: check "
                "that it is the whole list of this fleet. Nothing was marked or dropped. Without "
                "--apply, the command lists these tenants; with --accept, it continues all the same"
            )
        if self._exceeds(self.dropped, DROPPED):
            return ExpiryBraked(
                f"{self.dropped} of {self.tenants} tenants would be dropped at once: check that "
                "they are gone. Nothing was marked or dropped. Without --apply, the command lists "
                "these tenants; with --accept, it continues all the same"
            )
        return None

    def _exceeds(self, count: int, share: float) -> bool:
        return count > max(FEW, share * self.tenants)
