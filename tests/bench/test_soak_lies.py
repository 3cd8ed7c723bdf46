"""A soak's lies to collectors: one at a time, each taken back before the next is told."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from bench.soak import troubles
from bench.soak.lies import Lies
from bench.soak.troubles import Trouble, Troubles
from tests.servers.process import wait_until


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    """The logs of two collectors, each with runs that went well before anything was wrong."""
    paths = [tmp_path / "a.log", tmp_path / "b.log"]
    for path in paths:
        reports(path, ok=True)
        reports(path, ok=True)
    return paths


def reports(log: Path, *, ok: bool) -> None:
    """A run ends, and says so."""
    with log.open("a") as lines:
        lines.write(json.dumps({"ok": ok, "errors": []}) + "\n")


def test_one_at_a_time(logs: list[Path]) -> None:
    """While a lie is told, no other begins, however many runs end meanwhile."""
    lies = Lies(logs)
    assert lies.begin()
    for log in logs * 2:
        reports(log, ok=True)
    assert not lies.begin()


def test_the_next_waits_for_a_whole_run_of_each(logs: list[Path]) -> None:
    """A lie begins once each collector has done two runs: the first may be half lied to."""
    lies = Lies(logs)
    assert lies.begin()
    lies.end()
    for log in (logs[0], logs[0], logs[1]):
        reports(log, ok=True)
        assert not lies.begin()
    reports(logs[1], ok=True)
    assert lies.begin()


def test_runs_that_failed_do_not_count(logs: list[Path]) -> None:
    """A run that failed may have taken nothing back; what else is in the log says nothing."""
    lies = Lies(logs)
    assert lies.begin()
    lies.end()
    for log in logs:
        reports(log, ok=True)
        reports(log, ok=False)
        with log.open("a") as lines:
            lines.write('Traceback (most recent call last)\n"ok"\n{"event": "x"}\n{"error": "y"}\n')
    assert not lies.begin()


def test_a_run_counts_once(logs: list[Path]) -> None:
    """A run that logs its end and prints its report is one run."""
    lies = Lies(logs)
    assert lies.begin()
    lies.end()
    for log in logs:
        with log.open("a") as lines:
            lines.write('{"event": "collector run finished", "ok": true}\n')
        reports(log, ok=True)
    assert not lies.begin()


def test_a_line_that_was_begun_before(logs: list[Path]) -> None:
    """A report that was half written when the lie ended is of a run that began before."""
    lies = Lies(logs)
    assert lies.begin()
    with logs[0].open("a") as lines:
        lines.write('{"ok": ')
    lies.end()
    with logs[0].open("a") as lines:
        lines.write("true}\n")
    reports(logs[0], ok=True)
    for _ in range(2):
        reports(logs[1], ok=True)
    assert not lies.begin()


def test_what_is_harmless_goes_on(logs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all have taken a lie back, only troubles come that tell none; then one lies again."""
    monkeypatch.setattr(troubles, "PAUSE", (0.0, 0.0))
    kinds = {
        "lie": Trouble(lambda: None, lambda: None, 0.0, 0.0, lie=True),
        "hang": Trouble(lambda: None, lambda: None, 0.0, 0.0),
    }
    stop, lies = threading.Event(), Lies(logs)
    threads = [Troubles(who, 1, stop, kinds, lies=lies) for who in ("a", "b")]
    for thread in threads:
        thread.start()

    def told() -> int:
        return sum(thread.counts[f"lie, {thread.name[-1]}"] for thread in threads)

    wait_until(lambda: all(t.counts[f"hang, {t.name[-1]}"] > 20 for t in threads), "troubles")
    assert told() == 1
    for log in logs * 2:
        reports(log, ok=True)
    wait_until(lambda: told() > 1, "the next lie")
    stop.set()
    for thread in threads:
        thread.join()
    assert told() == 2
