"""The phases of a session, and which may follow which."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Phase(Enum):
    """The phase that a session is in."""

    OPEN = "open"
    SEALED = "sealed"
    FROZEN = "frozen"
    COMMITTED = "committed"
    DROPPED = "dropped"
    SUSPENDED = "suspended"


NEXT: Final = {
    Phase.OPEN: {
        Phase.OPEN,
        Phase.SEALED,
        Phase.FROZEN,
        Phase.COMMITTED,
        Phase.DROPPED,
        Phase.SUSPENDED,
    },
    Phase.SEALED: {
        Phase.OPEN,
        Phase.FROZEN,
        Phase.COMMITTED,
        Phase.DROPPED,
        Phase.SUSPENDED,
    },
    Phase.FROZEN: {Phase.COMMITTED, Phase.DROPPED},
    Phase.COMMITTED: set[Phase](),
    Phase.DROPPED: set[Phase](),
    Phase.SUSPENDED: set[Phase](),
}
"""The phases that may follow each phase; a frozen ingest that isn't carried out stays frozen."""


def following(phase: Phase, after: Phase) -> Phase:
    """Returns the phase that follows; a step that isn't in `NEXT` is a bug."""
    if after not in NEXT[phase]:
        raise AssertionError(f"a session that is {phase.value} can't become {after.value}")
    return after
