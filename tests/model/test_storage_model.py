"""Model A: what was acknowledged stays, whatever is lost, late, or dead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.model.checker import check
from tests.model.protocol import Faults
from tests.model.storage_model import StorageModel
from tests.model.storage_rules import WRONG, Rules
from tests.model.storage_scenarios import (
    adopting,
    aging,
    burying,
    collecting,
    committing,
    compacting,
    compacting_twice,
    deleting,
    doubting,
    healing,
    redriving,
    renaming,
    returning,
    taking,
)

Scenario = Callable[[Rules, Faults], StorageModel]
SAFE = Rules()
parts = partial(aging, kind="parts")
early = partial(aging, kind="early")
healing_wrong = partial(healing, damage=WRONG)
taking_parts = partial(taking, kind="parts")
doubting_clock = partial(doubting, lie="clock")
doubting_listing = partial(doubting, lie="records")
committing_parts = partial(committing, kind="parts")
redriving_parts = partial(redriving, kind="parts")

SMALL: list[tuple[Scenario, Faults]] = [
    (adopting, Faults(no_reply=1)),
    (committing, Faults(no_reply=1)),
    (redriving, Faults()),
    (renaming, Faults(no_reply=1, crash=1)),
    (deleting, Faults(no_reply=1)),
    (deleting, Faults(crash=1)),
    (compacting, Faults(no_reply=1)),
    (compacting, Faults(crash=1)),
    (compacting_twice, Faults()),
    (collecting, Faults(no_reply=1)),
    (aging, Faults(crash=1, environment=2)),
    (aging, Faults(no_reply=1, environment=2)),
    (parts, Faults(crash=1, environment=2)),
    (early, Faults(no_reply=1, environment=2)),
    (taking, Faults(no_reply=1, crash=1, environment=2)),
    (taking_parts, Faults(no_reply=1, crash=1, environment=2)),
    (healing, Faults(no_reply=1)),
    (healing_wrong, Faults(no_reply=1)),
    (doubting, Faults(crash=1)),
    (doubting_listing, Faults()),
    (doubting_clock, Faults()),
]
LARGE: list[tuple[Scenario, Faults]] = [
    (adopting, Faults(no_reply=1, crash=1)),
    (adopting, Faults(no_reply=2)),
    (committing, Faults(no_reply=1, crash=1)),
    (redriving, Faults(crash=1)),
    (redriving_parts, Faults(crash=1)),
    (returning, Faults()),
    (collecting, Faults(no_reply=1, crash=1)),
    (deleting, Faults(no_reply=1, crash=1)),
    (compacting, Faults(no_reply=1, crash=1)),
    (compacting_twice, Faults(no_reply=1)),
    (deleting, Faults(no_reply=2)),
    (parts, Faults(no_reply=1, environment=3)),
    (early, Faults(no_reply=1, crash=1, environment=3)),
    (burying, Faults(environment=2)),
    (healing, Faults(no_reply=1, crash=1)),
    (healing_wrong, Faults(no_reply=1, crash=1)),
]

BROKEN: dict[str, tuple[Rules, Scenario, Faults]] = {
    "the hold after the record": (SAFE._replace(hold="after"), committing, Faults(no_reply=1)),
    "the hold beside the record": (SAFE._replace(hold="beside"), committing, Faults(no_reply=1)),
    "the record read before the hold": (
        SAFE._replace(adopt_reads_after=False),
        adopting,
        Faults(),
    ),
    "what a flight tells of a commit taken for its record": (
        SAFE._replace(flights_are_advice=False),
        committing_parts,
        Faults(),
    ),
    "one hold name per digest": (
        SAFE._replace(fresh_names=False),
        renaming,
        Faults(no_reply=1, crash=1),
    ),
    "the same hold name when carried out again": (
        SAFE._replace(fresh_redrive_name=False),
        renaming,
        Faults(no_reply=1, crash=1),
    ),
    "a hold rolled back": (SAFE._replace(rolls_back=True), returning, Faults()),
    "a listed hold counted without the record": (
        SAFE._replace(held_reads_record=False),
        returning,
        Faults(),
    ),
    "a hold counted beside its mark": (
        SAFE._replace(held_minds_marks=False),
        deleting,
        Faults(no_reply=1),
    ),
    "no marks": (SAFE._replace(marks=False), deleting, Faults(no_reply=1)),
    "a hold deleted whose mark is not confirmed": (
        SAFE._replace(stops_unmarked=False),
        deleting,
        Faults(no_reply=2),
    ),
    "a tombstone revived on its old data": (SAFE._replace(revives=True), collecting, Faults()),
    "a tombstone made of a live record": (SAFE._replace(buries_live=True), adopting, Faults()),
    "the first listing used again": (SAFE._replace(second_listing=False), adopting, Faults()),
    "the record read after the second listing": (
        SAFE._replace(etag_before_listing=False),
        collecting,
        Faults(),
    ),
    "no lifetime when the record is sent": (
        SAFE._replace(lifetime=False),
        aging,
        Faults(crash=1, environment=2),
    ),
    "no look at data that was seen long ago": (
        SAFE._replace(looks_again=False),
        taking,
        Faults(environment=2),
    ),
    "records read before data is listed": (
        SAFE._replace(data_before_records=False),
        aging,
        Faults(environment=2),
    ),
    "G not longer than L": (
        SAFE._replace(longer_than_life=False),
        aging,
        Faults(environment=2),
    ),
    "G longer than L only, and not than a landing": (
        SAFE._replace(longer_than_landing=False),
        aging,
        Faults(no_reply=1, environment=2),
    ),
    "a hold deleted because its mark is old": (
        SAFE._replace(finishes_deletes=True),
        deleting,
        Faults(no_reply=1),
    ),
    "the bytes after the record": (SAFE._replace(data_first=False), redriving, Faults()),
    "a record written without comparing": (SAFE._replace(compares=False), adopting, Faults()),
    "no reply to a record taken for a yes": (
        SAFE._replace(looks_after_no_reply=False),
        adopting,
        Faults(no_reply=1),
    ),
    "no reply to a hold taken for a yes": (
        SAFE._replace(confirms_holds=False),
        adopting,
        Faults(no_reply=1),
    ),
    "no reply to a completion taken for a yes": (
        SAFE._replace(looks_after_complete=False),
        parts,
        Faults(no_reply=1),
    ),
    "one object believed to have been put": (
        SAFE._replace(redrive_finds_bytes=False),
        redriving,
        Faults(crash=1),
    ),
    "a condemned record counted on as it is": (SAFE._replace(pardons=False), adopting, Faults()),
    "bytes given up for a record whose data is gone": (
        SAFE._replace(publish_looks=False),
        healing,
        Faults(),
    ),
    "bytes given up for a record of other sums": (
        SAFE._replace(publish_minds_sums=False),
        healing_wrong,
        Faults(),
    ),
    "what the cache remembers taken for bytes": (
        SAFE._replace(remembered_looks=False),
        healing,
        Faults(),
    ),
    "the record read before the holds are listed": (
        SAFE._replace(held_lists_first=False),
        deleting,
        Faults(no_reply=1),
    ),
    "a mark taken away whose hold isn't known to be gone": (
        SAFE._replace(stops_undeleted=False),
        adopting,
        Faults(no_reply=1),
    ),
    "a mark taken away before its hold": (
        SAFE._replace(unmarks_last=False),
        adopting,
        Faults(no_reply=1),
    ),
    "a compaction without marks": (
        SAFE._replace(compacts_by_marks=False),
        compacting,
        Faults(no_reply=1),
    ),
    "a compaction that doesn't look at what stays": (
        SAFE._replace(compacts_by_sight=False),
        compacting,
        Faults(no_reply=1),
    ),
    "data deleted on the evidence of one run": (
        SAFE._replace(two_keys=False),
        doubting,
        Faults(),
    ),
    "data deleted because a listing was empty once": (
        SAFE._replace(two_keys=False),
        doubting_listing,
        Faults(),
    ),
    "data deleted because a clock was ahead once": (
        SAFE._replace(two_keys=False),
        doubting_clock,
        Faults(),
    ),
    "what is doomed deleted without being found again": (
        SAFE._replace(found_again=False),
        doubting,
        Faults(),
    ),
    "marks without holds left": (SAFE._replace(sweeps_marks=False), deleting, Faults(no_reply=1)),
}

SPARE: dict[str, tuple[Rules, Scenario, Faults]] = {
    "a fresh nonce when carried out again": (
        SAFE._replace(same_nonce=False),
        aging,
        Faults(crash=1, environment=2),
    ),
    "dead bytes sent again, within their lifetime": (
        SAFE._replace(refuses_dead_bytes=False),
        burying,
        Faults(environment=2),
    ),
    "the hold of a commit that is carried out again made anew": (
        SAFE._replace(redrive_finds_hold=False),
        redriving,
        Faults(),
    ),
    "a commit carried out that had taken effect": (
        SAFE._replace(redrive_looks=False),
        redriving,
        Faults(),
    ),
    "marks not counted by collectors": (
        SAFE._replace(counts_marks=False),
        deleting,
        Faults(crash=1),
    ),
    "a mark's digest not listed again": (
        SAFE._replace(sweep_lists_again=False),
        deleting,
        Faults(crash=1),
    ),
}


LONG = {"dead bytes sent again, within their lifetime"}
"""What takes minutes."""


@pytest.mark.parametrize(("scenario", "faults"), SMALL)
def test_acknowledged_content_stays(scenario: Scenario, faults: Faults) -> None:
    """In every interleaving what tenants were told they hold is there, and nothing else stays."""
    outcome = check(scenario(SAFE, faults))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 5000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("scenario", "faults"), LARGE)
def test_acknowledged_content_stays_under_more_faults(scenario: Scenario, faults: Faults) -> None:
    """The same holds with more faults and more concurrent frontends."""
    outcome = check(scenario(SAFE, faults), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule is needed: without it the checker finds how content is lost, or left."""
    rules, scenario, faults = BROKEN[name]
    outcome = check(scenario(rules, faults))
    assert outcome.wrong
    assert outcome.trace


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (one in LONG)) for one in SPARE]
)
def test_what_is_spare(name: str) -> None:
    """Some rules save work, or protect what another rule protects: nothing is lost without them."""
    rules, scenario, faults = SPARE[name]
    outcome = check(scenario(rules, faults))
    assert not outcome.wrong, str(outcome)
    with_it = check(scenario(SAFE, faults))
    assert outcome.states != with_it.states, "the rule never mattered in this scenario"


def test_a_delete_must_not_outlive_its_caller() -> None:
    """A delete that outlives its caller can remove a hold that another operation relies on."""
    outcome = check(deleting(SAFE, Faults(given_up=1)))
    assert "has no hold" in outcome.wrong
