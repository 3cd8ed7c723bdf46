"""`holdfast top` as people run it: on a terminal, and elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.cli.screen import screen
from holdfast.cli.top import PLAIN
from holdfast.overview import Overview, flight_message
from holdfast.protos import fleet_pb2
from tests.holdfast.fake_store import FakeFrontend, State
from tests.holdfast.test_screen import FLEET, SCREEN, hostile

COLUMNS, LINES = 80, 31
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PATIENCE = 60.0


def answer(overview: Overview = FLEET) -> fleet_pb2.OverviewResponse:
    """What a frontend answers."""
    return fleet_pb2.OverviewResponse(
        at=overview.at,
        by=overview.by,
        complete=overview.complete,
        frontends=[one.message() for one in overview.frontends],
        flights=map(flight_message, overview.flights),
    )


class Terminal:
    """A terminal of a fixed size, and what was written there so far."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int) -> None:
        self.process = process
        self.written = ""
        self._ours = ours

    def until(self, text: str) -> str:
        """Waits until a text was written; returns all that was, without controls."""
        self._read(lambda: text in self.plain)
        return self.plain

    def until_raw(self, control: str) -> None:
        """Waits until a control was written."""
        self._read(lambda: control in self.written)

    def _read(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < deadline, self.written
            if select.select([self._ours], [], [], 0.1)[0]:
                self.written += os.read(self._ours, 65536).decode(errors="replace")

    @property
    def plain(self) -> str:
        """What was written, without controls."""
        return CONTROL.sub("", self.written).replace("\r\n", "\n")


@contextmanager
def terminal(*command: str, **environment: str) -> Iterator[Terminal]:
    """Runs a command on a terminal of a fixed size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast.cli", *command],
        env={**known, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.fixture
def state() -> State:
    """What a fake fleet has."""
    return State(overviews=[answer()])


@pytest.fixture
def fake(state: State) -> Iterator[FakeFrontend]:
    """A frontend of it."""
    frontend = FakeFrontend(state)
    yield frontend
    frontend.stop()


def test_a_terminal_is_filled_again_and_again(state: State, fake: FakeFrontend) -> None:
    """The whole screen is used, what changes is redrawn, and Ctrl-C ends it and restores all."""
    later = answer()
    later.frontends[0].tenants[0].tenant = "node-later"
    state.overviews += [later]
    with terminal("--address", fake.target, "top", "--every", "0.5") as shown:
        first = shown.until("all others")
        for line in SCREEN.splitlines():
            assert line in first
        shown.until("node-later")
        assert "\x1b[?1049h" in shown.written
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(PATIENCE) == 0
        shown.until_raw("\x1b[?1049l")


def test_a_screen_outlives_its_frontend(fake: FakeFrontend) -> None:
    """If nothing answers any more, the last screen stays, and says why there is nothing newer."""
    with terminal("--address", fake.target, "--retry-for", "0.1", "top", "--every", "0.5") as shown:
        shown.until("backend lost")
        fake.stop()
        assert "node-1" in shown.until("nothing newer: ")
        assert shown.process.poll() is None


def test_hostile_text_controls_no_terminal(state: State, fake: FakeFrontend) -> None:
    """On a terminal, nothing that clients have chosen reaches it as a control."""
    state.overviews = [answer(hostile())]
    with terminal("--address", fake.target, "top") as shown:
        shown.until("evil")
        assert "\x1b]0;title" not in shown.written
        assert "\x07" not in shown.written
        assert "\u202e" not in shown.written


def run(fake: FakeFrontend, *words: str) -> tuple[int, str]:
    """Runs `top` without a terminal, and without a width that this one's has exported."""
    line = ["--address", fake.target, "top", *words]
    done = CliRunner().invoke(app, line, env={"COLUMNS": None})
    return done.exit_code, done.output


def test_without_a_terminal_there_is_one_look(fake: FakeFrontend) -> None:
    """Elsewhere than on a terminal, one look is printed as plain lines, with all rows."""
    code, printed = run(fake)
    assert code == 0
    assert printed.splitlines() == [line.plain for line in screen(FLEET, PLAIN, None)]
    assert run(fake, "--once") == (code, printed)


def test_programs_get_json(fake: FakeFrontend) -> None:
    """With --json, one object has all figures."""
    code, printed = run(fake, "--json")
    assert code == 0
    assert json.loads(printed) == json.loads(json.dumps(FLEET.as_json()))


def test_who_is_no_operator_is_told(state: State, fake: FakeFrontend) -> None:
    """A frontend that refuses, or is too old, is an error with its reason."""
    state.overviews = []
    code, printed = run(fake)
    assert code == 1
    assert "no such RPC" in printed
