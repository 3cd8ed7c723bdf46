"""Model D: a tenant that comes back while it is dropped keeps what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.checker import check
from tests.model.expiry_model import AWAKE, returning
from tests.model.expiry_programs import ExpiryRules
from tests.model.protocol import Faults

SAFE = ExpiryRules()
Asks = tuple[tuple[str, str], ...]
ISOLATED: Asks = (("f", "isolated"),)
SHARED: Asks = (("f", "shared"),)
COMMIT: Asks = (("f", "commit"),)
TWICE: Asks = (("f", "isolated"), ("f", "isolated"))
BOTH: Asks = (("f", "isolated"), ("g", "shared"))
HOURS = {"start": AWAKE, "looks": (2,)}
"""From the first look on; an expiry that drops a tenant takes two, and three ticks between."""
FOUND = {"finds": True}
TWO = {"looks": (1, 1)}

SCENARIOS: dict[str, tuple[Faults, dict[str, Any]]] = {
    "no reply": (Faults(no_reply=1), {"asks": SHARED, "sweeps": True}),
    "a crash": (Faults(crash=1), {"asks": SHARED, "sweeps": True}),
    "given up": (Faults(given_up=1), {"asks": BOTH}),
    "a commit": (Faults(no_reply=1), {"asks": COMMIT, "sweeps": True}),
    "two answers": (Faults(no_reply=1), {"asks": BOTH}),
    "another expiry finds it": (Faults(no_reply=1), {"asks": ISOLATED, **FOUND}),
    "two expiries": (Faults(), {"asks": SHARED, **TWO}),
    "hours": (Faults(environment=4), {"asks": ISOLATED, **HOURS}),
    "hours, two answers": (Faults(environment=4), {"asks": TWICE, **HOURS}),
}
LARGE: dict[str, tuple[Faults, dict[str, Any]]] = {
    "no reply and a crash": (Faults(no_reply=1, crash=1), {"asks": SHARED, "sweeps": True}),
    "no reply twice": (Faults(no_reply=2), {"asks": SHARED, **FOUND}),
    "two expiries and no reply": (Faults(no_reply=1), {"asks": SHARED, **TWO}),
    "two expiries and a crash": (Faults(crash=1), {"asks": SHARED, **TWO}),
    "two answers, two expiries": (Faults(), {"asks": BOTH, **TWO}),
    "hours, no reply": (Faults(no_reply=1, environment=4), {"asks": SHARED, **HOURS}),
    "hours, another expiry": (Faults(environment=3), {"asks": ISOLATED, **HOURS, **FOUND}),
    "hours, a crash, a collector": (
        Faults(environment=4, crash=1),
        {"asks": SHARED, **HOURS, "sweeps": True},
    ),
    "hours, two expiries and no reply": (
        Faults(environment=3, no_reply=1),
        {"asks": ISOLATED, "start": AWAKE, "looks": (2, 1)},
    ),
    "hours, two frontends and no reply": (
        Faults(environment=3, no_reply=1),
        {"asks": BOTH, **HOURS},
    ),
    "two expiries, another one finds it": (
        Faults(no_reply=1),
        {"asks": ISOLATED, **TWO, **FOUND},
    ),
}
BROKEN: dict[str, tuple[ExpiryRules, Faults, dict[str, Any]]] = {
    "no second look": (SAFE._replace(second_look=False), Faults(), HOURS),
    "a grace no longer than an answer": (SAFE._replace(grace=2), Faults(environment=2), HOURS),
    "a belief that outlasts the grace": (
        SAFE._replace(believed=4, answered=5),
        Faults(environment=3),
        HOURS,
    ),
    "an answer hours later": (SAFE._replace(answered=9), Faults(environment=3), HOURS),
    "an answer under a newer sighting": (
        SAFE._replace(pins=False),
        Faults(environment=3),
        {"asks": TWICE, **HOURS},
    ),
    "a mark that names no sighting": (
        SAFE._replace(names_sighting=False),
        Faults(environment=3),
        HOURS,
    ),
    "the look before the marks": (SAFE._replace(looks="before"), Faults(), {}),
    "a sighting after the answer": (SAFE._replace(sights_first=False), Faults(), {}),
    "a sighting like the one before": (SAFE._replace(fresh_sightings=False), Faults(), {}),
    "a failed sighting that counts": (SAFE._replace(falls_back="always"), Faults(no_reply=1), {}),
    "a mark that another expiry has taken away": (
        SAFE._replace(minds_missing=False),
        Faults(no_reply=1),
        FOUND,
    ),
    "a hold counted beside its mark": (SAFE._replace(minds_marks=False), Faults(), {}),
    "not announced": (SAFE._replace(announces=False), Faults(), {}),
    "a new hold after the old ones are gone": (SAFE._replace(takes_back="last"), Faults(), {}),
    "marks that are simply removed": (SAFE._replace(takes_back="unmarked"), Faults(), TWO),
    "a broken-off drop finished by a collector": (
        SAFE._replace(sweep_takes_back=False),
        Faults(),
        {"sweeps": True},
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_keeps_what_it_is_told(name: str) -> None:
    """In every interleaving a tenant that was told lately that it holds a digest has a hold."""
    faults, scenario = SCENARIOS[name]
    outcome = check(returning(SAFE, faults, **scenario))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 2000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LARGE)
def test_it_keeps_what_it_is_told_under_more_faults(name: str) -> None:
    """The same holds with more expiries, more answers and more faults."""
    faults, scenario = LARGE[name]
    outcome = check(returning(SAFE, faults, **scenario), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule is needed: without it a tenant loses what it was told that it holds."""
    rules, faults, scenario = BROKEN[name]
    outcome = check(returning(rules, faults, **scenario))
    assert "has no hold" in outcome.wrong
    assert outcome.trace


def test_what_stays_is_found() -> None:
    """If a mark never becomes old enough, the checker finds that a lost tenant keeps its holds."""
    outcome = check(returning(SAFE._replace(grace=9), Faults()))
    assert "stays away" in outcome.wrong


def test_the_mark_need_not_stand_where_a_failed_sighting_never_counts() -> None:
    """The mark is checked again only because frontends rely on its absence."""
    rules = SAFE._replace(minds_missing=False, falls_back="never")
    for scenario in (FOUND, TWO):
        outcome = check(returning(rules, Faults(no_reply=1), asks=ISOLATED, **scenario))
        assert not outcome.wrong, str(outcome)
