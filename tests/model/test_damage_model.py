"""Model A with damage: what readers and scrubs mark, and what a scrub makes live again."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pytest

from tests.model.checker import check
from tests.model.damage_programs import read, scrub
from tests.model.programs import Call, Program
from tests.model.protocol import Faults, Slot
from tests.model.storage_model import OLD, StorageModel
from tests.model.storage_rules import CORRUPT, KNOWN, LIVE, MISTAKEN, Record, Rules
from tests.model.storage_scenarios import (
    HELD,
    A,
    B,
    client,
    collector,
    data_collector,
)

Scenario = Callable[[Rules, Faults], StorageModel]
SAFE = Rules()


def finder(rules: Rules, program: Callable[..., Program], name: str) -> Slot:
    """A process that reads the digest's bytes once."""
    arguments: tuple[Hashable, ...] = (rules, name)
    return Slot(name, 1, lambda _world, _left: [("reads", Call(program, arguments))])


def marking(rules: Rules, faults: Faults) -> StorageModel:
    """Bytes went bad; two readers mark them, while two tenants commit and one of them deletes."""
    cast = [
        finder(rules, read, "reader"),
        finder(rules, scrub, "scrub"),
        client(rules, A, "1", 1, "rd", "inline"),
        client(rules, B, "2", 1, "c", "inline"),
        collector(rules),
    ]
    return StorageModel(rules, cast, faults, HELD._replace(bad=frozenset({"d"})))


def sound(rules: Rules, faults: Faults) -> StorageModel:
    """All bytes are good, and each reader may misread once, while the record changes."""
    cast = [
        finder(rules, read, "reader"),
        finder(rules, scrub, "scrub"),
        client(rules, A, "1", 1, "rd", "inline"),
        client(rules, B, "2", 1, "c", "inline"),
        collector(rules),
    ]
    return StorageModel(rules, cast, faults, HELD)


def knowing(rules: Rules, faults: Faults) -> StorageModel:
    """Frontends know of damage that isn't marked yet; tenants ask, commit and delete."""
    start = HELD._replace(record=Record(LIVE, "d", "n", KNOWN), bad=frozenset({"d"}))
    cast = [
        client(rules, A, "1", 2, "ircd", "inline"),
        client(rules, B, "2", 1, "ic", "inline"),
        finder(rules, read, "reader"),
        collector(rules),
    ]
    return StorageModel(rules, cast, faults, start)


def forgiving(rules: Rules, faults: Faults) -> StorageModel:
    """A good record was marked by mistake; it is made live again, healed, or buried."""
    start = HELD._replace(record=Record(CORRUPT, "d", "n", MISTAKEN), ages=frozenset({("d", OLD)}))
    cast = [
        finder(rules, scrub, "scrub"),
        client(rules, A, "1", 1, "id"),
        client(rules, B, "2", 1, "c", "inline"),
        collector(rules),
        data_collector(rules),
    ]
    return StorageModel(rules, cast, faults, start)


SMALL: list[tuple[Scenario, Faults]] = [
    (marking, Faults()),
    (sound, Faults()),
    (knowing, Faults()),
    (forgiving, Faults()),
]
LARGE: list[tuple[Scenario, Faults]] = [
    (marking, Faults(no_reply=1)),
    (sound, Faults(no_reply=1)),
    (knowing, Faults(no_reply=1)),
    (knowing, Faults(crash=1)),
    (forgiving, Faults(no_reply=1)),
    (forgiving, Faults(crash=1)),
]
BROKEN: dict[str, tuple[Rules, Scenario]] = {
    "a mark after one look": (SAFE._replace(mark_looks_twice=False), sound),
    "a mark on a record that names other bytes": (SAFE._replace(mark_minds_bytes=False), marking),
    "a mark without comparing": (SAFE._replace(mark_compares=False), marking),
    "a record restored whose bytes weren't read": (
        SAFE._replace(restore_reads_bytes=False),
        marking,
    ),
    "a record restored without comparing": (SAFE._replace(restore_compares=False), forgiving),
    "a tombstone restored": (SAFE._replace(restore_spares_tombstones=False), forgiving),
    "bytes counted on that are known to be bad": (SAFE._replace(minds_known=False), knowing),
}


@pytest.mark.parametrize(("scenario", "faults"), SMALL)
def test_damage_is_marked_and_forgiven(scenario: Scenario, faults: Faults) -> None:
    """In every interleaving exactly the bad bytes are marked, and all good ones stay."""
    outcome = check(scenario(SAFE, faults))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 5000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("scenario", "faults"), LARGE)
def test_damage_under_more_faults(scenario: Scenario, faults: Faults) -> None:
    """The same holds if replies are lost and operations break off."""
    outcome = check(scenario(SAFE, faults), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule is needed: without it the checker finds a wrong mark or a wrong revival."""
    rules, scenario = BROKEN[name]
    outcome = check(scenario(rules, Faults()))
    assert outcome.wrong
    assert outcome.trace
