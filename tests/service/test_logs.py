"""What libraries may write into the log."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any, Final

import pytest
from structlog import DropEvent

from holdfast.backend import Change
from holdfast.service.agent.upstream import Upstream
from holdfast.service.process.logs import GRPC, LONGEST_TRACE, clean, worth_telling
from holdfast.service.process.repetitions import MOST, Repetitions


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("ExecuteBatchError raised in core by servicer method [/x.Content/Read]", False),
        ("Unexpected [ExecuteBatchError] raised by servicer method [/x.Content/Read]", True),
        ("Failed sending error status from server", True),
    ],
)
def test_grpc(message: str, told: bool) -> None:
    """Only that a client went away is kept out of the log."""
    record = logging.LogRecord(GRPC, logging.ERROR, "", 0, "%s", (message,), None)
    assert worth_telling(record) is told


class Written:
    """A log that repeats itself, by a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self._bound = Repetitions(lambda: self.now)

    def __call__(self, event: str, **fields: Any) -> dict[str, Any] | None:
        """Logs an event; returns what is written, or None."""
        try:
            return dict(self._bound(None, "warning", {"event": event, **fields}))
        except DropEvent:
            return None


def test_a_problem_is_not_a_line_for_each_try() -> None:
    """Of a thousand lines of one event 20 are written, and the next one says what was omitted."""
    log = Written()
    assert sum(log("background task failed") is not None for _ in range(1000)) == 20
    assert log("sighting not noted") == {"event": "sighting not noted"}
    log.now = 10.0
    assert log("background task failed") == {"event": "background task failed", "omitted": 980}
    assert log("background task failed") is None


@pytest.mark.parametrize(
    ("event", "often", "other"),
    [
        ("backend lost", {"backend": "Redis"}, {"backend": "S3"}),
        ("background task failed", {"error": "TimeoutError"}, {"error": "KeyError"}),
        ("RPC failed with an unexpected error", {"rpc": "Info"}, {"rpc": "Write"}),
        ("writer failed", {"exc_info": KeyError("a")}, {"exc_info": ValueError("a")}),
    ],
)
def test_a_problem_does_not_hide_another_one(
    event: str, often: dict[str, Any], other: dict[str, Any]
) -> None:
    """However often an event is about one thing, it is written when it is about another."""
    log = Written()
    assert sum(log(event, **often) is not None for _ in range(1000)) == 20
    assert log(event, **other) == {"event": event, **other}


def test_an_event_about_whom_clients_choose_is_bounded() -> None:
    """A thousand tenants, refs or reasons have the lines of one event together."""
    log = Written()
    lines = [
        log("sighting not noted", tenant=str(i), ref=str(i), reason=str(i)) for i in range(1000)
    ]
    assert sum(line is not None for line in lines) == 20


def test_allowances_are_bounded() -> None:
    """Events about too many things are bounded by their text alone."""
    log = Written()
    assert sum(log("backend lost", backend=str(i)) is not None for i in range(2000)) == MOST + 20
    log.now = 1000.0
    assert sum(log("backend lost", backend=f"new {i}") is not None for i in range(100)) == 100


def test_each_finding_is_a_line() -> None:
    """What a scrub finds is logged however much it is."""
    log = Written()
    assert all(log("damage found") for _ in range(1000))


def test_a_trace_keeps_its_lines_and_its_end() -> None:
    """A trace of an exception has its lines, its end if it is long, and nothing that steers."""
    trace = "x" * LONGEST_TRACE + "\nValueError: \x1b[2J"
    cleaned = clean(None, "error", {"event": "RPC failed", "exception": trace, "ref": None})
    assert cleaned["exception"].endswith("\nValueError: \\x1b[2J")
    assert len(cleaned["exception"]) < LONGEST_TRACE + 10
    assert "ref" not in cleaned


def test_a_lost_frontend_is_two_lines() -> None:
    """An agent logs a frontend that it can't reach once, and once when it answers again."""
    told: list[Change] = []
    now = [0.0]
    channel: Any = None
    upstream = Upstream(
        "f:9000", channel, clock=lambda: now[0], spread=lambda low, _: low, tell=told.append
    )
    for _ in range(100):
        upstream.silent(1.0)
        now[0] += 1.0
    assert [(change.name, change.up) for change in told] == [("f:9000", False)]
    upstream._answered()
    assert told[1:] == [Change("f:9000", up=True, seconds=100.0, calls=100)]


@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("holdfast.client", "opentelemetry"),
        # redis-py imports the SDK by itself wherever that is installed.
        ("holdfast.service.commands.serve", "opentelemetry.exporter"),
    ],
)
def test_nothing_is_imported_for_traces_that_nobody_wants(module: str, packages: str) -> None:
    """The client and a frontend without `TRACES` leave OpenTelemetry's packages alone."""
    found = f"import sys, {module}; print([m for m in sys.modules if m.startswith('{packages}')])"
    done = subprocess.run(
        [sys.executable, "-c", found], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


WRITES: Final = """
import io, sys, structlog
from holdfast.service.process import logs
class Recorder(io.TextIOBase):
    written = []
    write = written.append
    def flush(self): pass
    def isatty(self): return False
sys.stderr = Recorder()
logs.configure("info", "json")
structlog.get_logger().info("ready", ref="a")
sys.stdout.write(repr([(one[0], one[-1], one.count("\\n")) for one in Recorder.written]))
"""


def test_a_line_is_one_write() -> None:
    """A line and its end are written at once: lines of the audit log may come in between."""
    done = subprocess.run(
        [sys.executable, "-c", WRITES], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == repr([("{", "\n", 1)])
