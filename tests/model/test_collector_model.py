"""Model A's whole runs of collectors: tombstones removed, records pardoned, blobs retained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.model.checker import check
from tests.model.protocol import Faults
from tests.model.storage_model import StorageModel
from tests.model.storage_rules import FRESH, Rules
from tests.model.storage_scenarios import (
    giving_up,
    misreading,
    pardoning,
    removing,
    removing_behind,
    retaining,
    warming,
)

Scenario = Callable[[Rules, Faults], StorageModel]
SAFE = Rules()
retaining_first = partial(retaining, lies=("holds", ""))
retaining_twice = partial(retaining, lies=("holds", "", "holds"))
warming_young = partial(warming, marker=FRESH)
warming_unmarked = partial(warming, marker="")
pardoning_late = partial(pardoning, between=("pardon", ""))

SEARCHED: list[tuple[Scenario, Faults]] = [
    (removing, Faults(no_reply=1)),
    (removing, Faults(crash=1)),
    (removing_behind, Faults(no_reply=1, environment=2)),
    (removing_behind, Faults(crash=1, environment=2)),
    (misreading, Faults(no_reply=1)),
    (pardoning, Faults()),
    (pardoning_late, Faults()),
    (giving_up, Faults(environment=1)),
    (giving_up, Faults(no_reply=1, environment=1)),
    (giving_up, Faults(crash=1, environment=1)),
    (retaining, Faults(no_reply=1, crash=1, environment=1)),
    (retaining_first, Faults(no_reply=1, crash=1, environment=1)),
    (retaining_twice, Faults(environment=2)),
    (warming, Faults(no_reply=1, environment=1)),
    (warming, Faults(crash=1, environment=1)),
    (warming_young, Faults(environment=1)),
    (warming_unmarked, Faults(environment=1)),
]
BROKEN: dict[str, tuple[Rules, Scenario]] = {
    "a tombstone removed by a DELETE of whatever is there": (
        SAFE._replace(removes_by_etag=False),
        removing,
    ),
    "a tombstone removed that one run has read": (
        SAFE._replace(removes_twice_read=False),
        misreading,
    ),
    "what a lie condemned is not taken back": (SAFE._replace(pardons_held=False), pardoning),
    "a held record not read though it has changed": (SAFE._replace(reads_changed=False), pardoning),
    "a held record not read though it is known to be condemned": (
        SAFE._replace(reads_condemned=False),
        pardoning_late,
    ),
    "a held record condemned because its marker is old": (
        SAFE._replace(retains_by_holds=False),
        retaining,
    ),
    "a record buried in the run that finds its marker old": (
        SAFE._replace(marker_is_no_key=False),
        retaining_first,
    ),
    "what is warmed not written anew": (SAFE._replace(warm_writes=False), warming),
    "a record condemned that was written after its marker": (
        SAFE._replace(minds_writes=False),
        warming,
    ),
}


@pytest.mark.parametrize(("scenario", "faults"), SEARCHED)
def test_acknowledged_content_stays(scenario: Scenario, faults: Faults) -> None:
    """In every interleaving with whole runs, what tenants were told stays true."""
    outcome = check(scenario(SAFE, faults))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 500


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule is needed: without it the checker finds how content goes."""
    rules, scenario = BROKEN[name]
    outcome = check(scenario(rules, Faults()))
    assert outcome.wrong
    assert outcome.trace


def test_tombstones_beside_their_data() -> None:
    """A tombstone needn't outlast its data: no commit of that data is young enough by then."""
    faults = Faults(environment=2)
    without = check(removing_behind(SAFE._replace(removes_without_data=False), faults))
    assert not without.wrong, str(without)
    assert without.states != check(removing_behind(SAFE, faults)).states


def test_markers_that_are_left() -> None:
    """No content depends on it that the markers of what is held are removed."""
    without = check(retaining(SAFE._replace(outlived_go=False), Faults()))
    assert not without.wrong, str(without)
    assert without.states != check(retaining(SAFE, Faults())).states
