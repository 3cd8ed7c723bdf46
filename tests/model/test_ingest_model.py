"""Model C: a blob's bytes are those that were hashed, whichever streams wrote or lost the ref."""

from __future__ import annotations

import pytest

from tests.model.checker import check
from tests.model.ingest_model import IngestRules, ingesting
from tests.model.protocol import Faults

SAFE = IngestRules()
BROKEN = {
    "a nonce that is not in force": (
        SAFE._replace(nonce=False),
        Faults(environment=1),
        True,
    ),
    "forgotten without the data key": (SAFE._replace(compares_key=False), Faults(no_reply=1), True),
    "dropped without the lease": (SAFE._replace(ends_own=False), Faults(environment=1), False),
    "forgotten though it isn't frozen": (
        SAFE._replace(ends_frozen=False),
        Faults(environment=2),
        False,
    ),
    "a restart under the same data key, where size alone tells objects apart": (
        SAFE._replace(fresh_restart_key=False, minds_object_etag=False),
        Faults(no_reply=1, environment=2),
        False,
    ),
    "a small object's data key opened again": (
        SAFE._replace(fresh_open_key=False),
        Faults(no_reply=1, environment=1),
        True,
    ),
    "parts completed without their ETags": (
        SAFE._replace(minds_etags=False),
        Faults(no_reply=1, environment=1),
        False,
    ),
}


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize(
    "faults", [Faults(no_reply=1, environment=1), Faults(crash=1, environment=1)]
)
def test_bytes_are_never_mixed(faults: Faults, single: bool) -> None:
    """In every interleaving a record's data is, part by part, what its digest was made of."""
    outcome = check(ingesting(SAFE, faults, single=single, aborts=False))
    assert not outcome.wrong, str(outcome)
    assert outcome.states > 5000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize(
    "faults", [Faults(no_reply=1, environment=2), Faults(no_reply=1, crash=1, environment=1)]
)
def test_bytes_are_never_mixed_under_more_faults(faults: Faults, single: bool) -> None:
    """The same holds with aborted refs, and under more faults."""
    outcome = check(ingesting(SAFE, faults, single=single, aborts=True), limit=10_000_000)
    assert not outcome.wrong, str(outcome)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule of an ingest is needed: without it bytes are mixed, or the wrong ingest changes."""
    rules, faults, single = BROKEN[name]
    outcome = check(ingesting(rules, faults, single=single, aborts=False))
    assert outcome.wrong
    assert outcome.trace


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_object_is_not_known_by_its_size() -> None:
    """If a completed object is recognised only by its size, a re-drive can take another's bytes."""
    rules = SAFE._replace(minds_object_etag=False)
    outcome = check(ingesting(rules, Faults(no_reply=1, environment=2), single=False, aborts=True))
    assert "the record says" in outcome.wrong


def test_a_stale_stream_is_kept_from_a_frozen_ingest_by_its_nonce() -> None:
    """That scripts leave frozen ingests alone is a second guard; the first is enough."""
    rules = SAFE._replace(minds_frozen=False)
    faults = Faults(no_reply=1, environment=1)
    outcome = check(ingesting(rules, faults, single=True, aborts=False))
    assert not outcome.wrong, str(outcome)
    with_it = check(ingesting(SAFE, faults, single=True, aborts=False))
    assert outcome.states == with_it.states, "a request got as far as the second guard"
