"""When an expiry stops before it does anything: what would drop many tenants may be mistaken.

A list that lacks most of the fleet (another cluster's, half an answer), sightings that a
listing left out, or a clock that has jumped look like tenants that are gone. So a run is
planned before it acts, and one that goes too far does nothing without somebody's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.errors import FailedPrecondition

FEW: Final = 3
"""Tenants that may always be dropped, or be missing on a list, however small the fleet is."""
DROPPED: Final = 0.05
"""Share of the tenants that one run drops at most: nodes go one by one."""
UNLISTED: Final = 0.5
"""Share of the tenants that a list of those who exist may lack."""


class Braked(FailedPrecondition):
    """A run would go too far, and has done nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, counted.

    Attributes:
        tenants: that have holds, and that the rules concern.
        unlisted: of them, those that a list of who exists doesn't name.
        dropped: of them, those that would be dropped by this run.
    """

    tenants: int
    unlisted: int
    dropped: int

    def excess(self) -> Braked | None:
        """Why nothing may be done without somebody's word, if so."""
        if self._exceeds(self.unlisted, UNLISTED):
            return Braked(
                f"--existing doesn't name {self.unlisted} of {self.tenants} tenants: is it the "
                "list of this fleet, and whole? Nothing was marked or dropped. Without --apply it "
                "says whom it means; with --accept it goes on all the same"
            )
        if self._exceeds(self.dropped, DROPPED):
            return Braked(
                f"{self.dropped} of {self.tenants} tenants would be dropped at once: are they all "
                "gone? Nothing was marked or dropped. Without --apply it says whom it means; with "
                "--accept it goes on all the same"
            )
        return None

    def _exceeds(self, count: int, share: float) -> bool:
        return count > max(FEW, share * self.tenants)
