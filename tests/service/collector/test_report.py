"""What a report says."""

from __future__ import annotations

import json
import threading

import pytest

from holdfast.errors import Unavailable
from holdfast.service.collector.report import MAX_ERRORS, CollectedKind, CollectionReport, Fate
from holdfast.service.collector.run import CollectionStopped
from holdfast.service.collector.sweep import sweep_store
from tests.service.collector.world import World


def test_counts_and_bytes_by_kind() -> None:
    """Counts and bytes are told by kind and fate, and what was freed is summed."""
    report = CollectionReport(dry_run=False)
    report.note(CollectedKind.DATA, Fate.DELETED, 10)
    report.note(CollectedKind.DATA, Fate.DELETED, 5)
    report.note(CollectedKind.TAILS, Fate.DELETED, 1)
    report.note(CollectedKind.DATA, Fate.NAMED, 100)
    told = json.loads(json.dumps(report.as_json()))
    assert told["counts"]["data"]["deleted"] == {"count": 2, "bytes": 15}
    assert told["counts"]["data"]["named"] == {"count": 1, "bytes": 100}
    assert told["freed_bytes"] == report.freed == 16
    assert told["ok"] is True
    assert [(kind, fate) for kind, fate, _ in report.rows()] == [
        (CollectedKind.DATA, Fate.NAMED),
        (CollectedKind.DATA, Fate.DELETED),
        (CollectedKind.TAILS, Fate.DELETED),
    ]


def test_errors_are_bounded() -> None:
    """However much goes wrong, a report stays readable, and says how much it was."""
    report = CollectionReport(dry_run=False)
    for _ in range(MAX_ERRORS + 5):
        report.error("tails", Unavailable("x\n" * 5000))
    told = report.as_json()
    assert not told["ok"]
    assert told["error_count"] == MAX_ERRORS + 5
    assert len(told["errors"]) == MAX_ERRORS
    assert all(len(error) < 600 and "\n" not in error for error in told["errors"])


def test_every_fate_says_something() -> None:
    """Each fate has a text of its own for the table."""
    assert len({fate.text for fate in Fate}) == len(Fate)


def test_a_run_that_is_stopped(world: World) -> None:
    """A run that is told to stop ends before its next step."""
    world.commit("a", b"content")
    stop = threading.Event()
    stop.set()
    with world.a_run(stop=stop) as run, pytest.raises(CollectionStopped):
        sweep_store(run)
