"""Model B: what Redis remembers never outlasts the hold."""

from __future__ import annotations

import pytest

from tests.model.cache_model import HELD_TWICE, CacheRules, caching
from tests.model.checker import check
from tests.model.labels_model import relabelling
from tests.model.protocol import Faults

SAFE = CacheRules()
BROKEN = {
    "no gen, no guard": (SAFE._replace(gen=False, guard=False), Faults()),
    "no server's identity": (SAFE._replace(server=False), Faults(environment=1)),
    "a fill without the guard": (SAFE._replace(guard=False), Faults(no_reply=1)),
    "announced after the store was changed": (
        SAFE._replace(announces_first=False, confirms="never"),
        Faults(no_reply=1),
    ),
    "asked before the marks whether it is still announced": (
        SAFE._replace(confirms="before"),
        Faults(no_reply=1, environment=1),
    ),
    "an announcement that a failover has lost": (
        SAFE._replace(confirms="never"),
        Faults(no_reply=1, environment=1),
    ),
}


@pytest.mark.parametrize("faults", [Faults(no_reply=1), Faults(environment=1), Faults(crash=1)])
def test_a_remembered_hold_is_there(faults: Faults) -> None:
    """In every interleaving a tenant that the cache reports as a holder has a hold."""
    outcome = check(caching(SAFE, faults))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 5000


@pytest.mark.parametrize("faults", [Faults(no_reply=1), Faults(environment=1), Faults(crash=1)])
def test_a_remembered_hold_is_there_where_announcements_are_folded(faults: Faults) -> None:
    """The same holds if each new change folds the others into one."""
    outcome = check(caching(SAFE._replace(bound="folds"), faults))
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("faults", [Faults(no_reply=2), Faults(crash=1, no_reply=1)])
@pytest.mark.parametrize("bound", ["none", "folds"])
def test_remembered_labels_are_those_of_the_hold(faults: Faults, bound: str) -> None:
    """An update that is given up prevents fills, however many changes come after it."""
    outcome = check(relabelling(SAFE._replace(bound=bound), faults))
    assert not outcome.wrong, str(outcome)


def test_a_bound_that_drops_announcements_is_found() -> None:
    """If a change drops the announcements of others, a late write leaves other labels in Redis."""
    outcome = check(relabelling(SAFE._replace(bound="drops"), Faults(no_reply=1)))
    assert "Redis says" in outcome.wrong
    assert outcome.trace


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "faults",
    [Faults(no_reply=1, environment=1), Faults(crash=1, environment=1), Faults(environment=2)],
)
def test_a_remembered_hold_is_there_under_more_faults(faults: Faults) -> None:
    """The same holds if Redis fails over while replies are lost and frontends die."""
    outcome = check(caching(SAFE, faults), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


def test_all_marks_come_before_the_first_delete() -> None:
    """If two holds are marked and deleted one by one, a failover in between goes unnoticed."""
    rules = SAFE._replace(marks_all_first=False)
    faults = Faults(no_reply=1, environment=1)
    outcome = check(caching(rules, faults, start=HELD_TWICE))
    assert "has no hold" in outcome.wrong


@pytest.mark.parametrize(
    "rules", [SAFE._replace(ends_last=False), SAFE._replace(ends_only_done=False)]
)
def test_the_end_of_an_announcement_is_spare(rules: CacheRules) -> None:
    """Once all holds are marked, the marks keep readers away, whatever Redis says."""
    outcome = check(caching(rules, Faults(no_reply=1), start=HELD_TWICE))
    assert not outcome.wrong, str(outcome)
    with_it = check(caching(SAFE, Faults(no_reply=1), start=HELD_TWICE))
    assert outcome.states != with_it.states, "the rule never mattered in this scenario"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("faults", [Faults(no_reply=1), Faults(crash=1, environment=1)])
def test_two_remembered_holds_are_there(faults: Faults) -> None:
    """The same holds if a tenant has two holds and a delete removes both."""
    outcome = check(caching(SAFE, faults, start=HELD_TWICE), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule of the cache is needed: without it an entry outlasts the hold."""
    rules, faults = BROKEN[name]
    outcome = check(caching(rules, faults))
    assert outcome.wrong
    assert outcome.trace
