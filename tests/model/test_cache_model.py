"""Model B: what Redis remembers never outlasts the hold."""

from __future__ import annotations

import pytest

from tests.model.cache_model import CacheRules, caching
from tests.model.checker import Faults, check

SAFE = CacheRules()
BROKEN = {
    "no gen, no guard": (SAFE._replace(gen=False, guard=False), Faults()),
    "no server's identity": (SAFE._replace(server=False), Faults(environment=1)),
    "a fill without the guard": (SAFE._replace(guard=False), Faults(no_reply=1)),
    "announced after the store was changed": (
        SAFE._replace(announces_first=False, confirms=False),
        Faults(no_reply=1),
    ),
    "an announcement that a failover has lost": (
        SAFE._replace(confirms=False),
        Faults(no_reply=1, environment=1),
    ),
}


@pytest.mark.parametrize("faults", [Faults(no_reply=1), Faults(environment=1), Faults(crash=1)])
def test_a_remembered_hold_is_there(faults: Faults) -> None:
    """In every interleaving who hears from the cache that it holds a digest has a hold."""
    outcome = check(caching(SAFE, faults))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 5000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "faults",
    [Faults(no_reply=1, environment=1), Faults(crash=1, environment=1), Faults(environment=2)],
)
def test_a_remembered_hold_is_there_under_more_faults(faults: Faults) -> None:
    """The same holds where Redis fails over while replies are lost and frontends die."""
    outcome = check(caching(SAFE, faults), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule of the cache is needed: without it an entry outlasts the hold."""
    rules, faults = BROKEN[name]
    outcome = check(caching(rules, faults))
    assert outcome.wrong
    assert outcome.trace
