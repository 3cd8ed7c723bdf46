"""The latest lines of a frontend's log, as those see them who look at the fleet."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from holdfast.overview import NAME, PROBLEMS, Problem
from holdfast.service.overview.problems import Problems
from tests.coordination.fleet import Clock
from tests.servers.process import wait_until
from tests.service.fleet import Fleet
from tests.service.processes import run, serving

RULES = '[[rules]]\nname = "operators"\nuid = {uid}\nrole = "operator"\n'


def kept(*events: EventDict) -> tuple[Problem, ...]:
    """What is kept of events."""
    problems = Problems(Clock())
    for event in events:
        assert problems.note(None, "", event) is event
    return problems.latest()


def test_warnings_and_errors_are_kept() -> None:
    """A line of level warning or error is kept with what it is about; others aren't."""
    about = {"digest": "sha256:00", "tenant": "node-1", "reason": "a block"}
    assert kept(
        {"event": "listening", "level": "info", "port": 1},
        {"event": "damage found", "level": "warning", **about},
        {"event": "stream not closed", "level": "error", "ref": "layer"},
    ) == (
        Problem(1000.0, "error", "stream not closed", ref="layer"),
        Problem(1000.0, "warning", "damage found", "node-1", "", "sha256:00", "a block"),
    )


def test_an_exception_is_its_last_line() -> None:
    """Of an exception's trace, the line is kept that says what was raised."""
    trace = "Traceback …\n  File x\nValueError: out of range"
    [found] = kept({"event": "RPC failed", "level": "error", "exception": trace})
    assert found.reason == "ValueError: out of range"


def test_what_is_kept_is_bounded() -> None:
    """Only the latest lines are kept, and only the beginning of what they say."""
    many = PROBLEMS + 5
    found = kept(
        *(
            {"event": "again", "level": "warning", "reason": f"{n} {'x' * 5000}"}
            for n in range(many)
        )
    )
    assert len(found) == PROBLEMS
    assert found[0].reason.startswith(f"{many - 1} ")
    assert all(len(one.reason) < NAME + 20 for one in found)


async def test_they_are_announced(own_fleet: Fleet) -> None:
    """What a frontend's log says is in the overview of the fleet."""
    frontend = await own_fleet.frontend()
    overview = frontend.running.frontend.overview
    lost = Problem(1.0, "warning", "backend lost", reason="Redis")
    overview.show_problems(lambda: (lost,))
    await overview.announce()
    assert [one for _, one in (await overview.current()).problems] == [lost]


def looked(socket: Path) -> dict[str, Any]:
    """What `holdfast top` says to programs."""
    done = run("top", "--address", f"unix://{socket}", "--retry-for", "30", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_operator_sees_what_went_wrong(tmp_path: Path, socket_folder: Path) -> None:
    """A warning in a frontend's log is on an operator's screen, some seconds later."""
    socket, rules = socket_folder / "operator.sock", tmp_path / "rules"
    rules.write_text(RULES.format(uid=os.getuid()))
    listen = f"unix://{socket}?identities=1"
    with serving(tmp_path / "log", listen=listen, data_dir=tmp_path, identities=rules) as served:
        os.kill(served.child(), signal.SIGKILL)

        def shown() -> bool:
            [frontend] = looked(socket)["frontends"]
            return "embedded Redis died; it was started again" in {
                one["event"] for one in frontend["problems"]
            }

        wait_until(shown, "the warning in the overview")


@pytest.mark.slow
def test_a_frontend_that_dies_is_not_shown_for_long(
    tmp_path: Path, socket_folder: Path, redis_url: str
) -> None:
    """A frontend that was killed is gone from everybody's screen once its figures have lapsed."""
    socket, rules = socket_folder / "operator.sock", tmp_path / "rules"
    rules.write_text(RULES.format(uid=os.getuid()))
    settings: dict[str, Any] = {"data_dir": tmp_path, "redis_url": redis_url}
    listen = f"unix://{socket}?identities=1"
    with (
        serving(tmp_path / "one", listen=listen, identities=rules, **settings) as one,
        serving(tmp_path / "two", **settings) as two,
    ):

        def shown() -> set[int]:
            names = [frontend["name"] for frontend in looked(socket)["frontends"]]
            return {int(name.rpartition("/")[2]) for name in names}

        both = {one.process.pid, two.process.pid}
        wait_until(lambda: both <= shown(), "both frontends")
        two.kill()
        wait_until(lambda: two.process.pid not in shown(), "one frontend")
        assert one.process.pid in shown()
