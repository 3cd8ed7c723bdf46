"""`holdfast node`: what it takes, prints and refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli import rollout
from holdfast.cli.app import app
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.journal import Journal, Phase, load
from holdfast.node.rollout.layout import Containerd, Layout
from holdfast.node.rollout.systemd import Systemd
from tests.rollout.model import OURS, Model
from tests.rollout.test_killed import installed
from tests.rollout.test_killed import node as model_of_a_node
from tests.rollout.test_meanwhile import forget


def node(*arguments: object) -> Result:
    """Runs `holdfast node`."""
    return CliRunner().invoke(app, ["node", *map(str, arguments)])


def test_a_host_without_an_agent(tmp_path: Path) -> None:
    """The status of a host without an agent is an error that says so."""
    done = node("status", "--host", tmp_path)
    assert (done.exit_code, json.loads(done.stdout)) == (1, {})
    assert "no agent" in done.stderr


def test_a_host_that_was_given_up(tmp_path: Path) -> None:
    """The status of a host names its phase, and the reason."""
    layout = Layout(host=tmp_path)
    Journal(phase=Phase.OWN, failed="1-a", reason="no frontend").store(Disk(), layout)
    done = node("status", "--host", tmp_path)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"] == "1-a"
    assert "own: no frontend" in done.stderr


def test_a_host_without_systemd(tmp_path: Path) -> None:
    """Without systemd nothing is begun."""
    settings = tmp_path / "node.env"
    settings.write_text("# a comment\n\nHOLDFAST_AGENT_FRONTENDS=f:1\n")
    done = node(
        "install", "--host", tmp_path, "--node", "a", "--bundle", tmp_path, "--settings", settings
    )
    assert done.exit_code == 1
    assert "systemd" in done.stderr
    assert not (tmp_path / "var").exists()
    assert "systemd" in node("remove", "--host", tmp_path).stderr


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ("HOLDFAST_A\n", (), "without '='"),
        ("", ("--certificate", "/a"), "belong together"),
        ("HOLDFAST_LISTEN=x\n", (), "leave it out"),
    ],
)
def test_wrong_usage(tmp_path: Path, text: str, more: tuple[str, ...], reason: str) -> None:
    """Settings that are none, and half a certificate, are wrong usage."""
    settings = tmp_path / "node.env"
    settings.write_text(text)
    done = node("install", "--node", "a", "--bundle", tmp_path, "--settings", settings, *more)
    assert done.exit_code == 2
    assert reason in done.stderr


def test_a_journal_is_read_as_written(tmp_path: Path) -> None:
    """A journal says what was written, and only root may read it."""
    layout = Layout(host=tmp_path)
    written = Journal(
        phase=Phase.MOVING, current="1-a", wanted="1-b", containerd=Containerd(unit="k3s.service")
    )
    written.store(Disk(), layout)
    assert load(layout) == written
    assert layout.journal.stat().st_mode & 0o777 == 0o600


def test_a_journal_of_a_later_release(tmp_path: Path) -> None:
    """What a later release has added is left out: an earlier hook reads its journal."""
    layout = Layout(host=tmp_path)
    written = Journal(phase=Phase.HOLDFAST, current="1-a", wanted="1-b")
    written.store(Disk(), layout)
    more = json.loads(layout.journal.read_text())
    more |= {"later": 1}
    more["containerd"] |= {"later": 1}
    layout.journal.write_text(json.dumps(more))
    assert load(layout) == written


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', '{"format": 1, "phase": "?"}', "[]"])
def test_a_journal_of_another_release(tmp_path: Path, text: str) -> None:
    """A journal that can't be read is an error, and not the same as none."""
    layout = Layout(host=tmp_path)
    layout.journal.parent.mkdir(parents=True)
    layout.journal.write_text(text)
    done = node("status", "--host", tmp_path)
    assert done.exit_code == 1
    assert "release" in done.stderr


def test_a_hook_that_hangs() -> None:
    """The hook of containerd ends once its time is up, whatever it waits for."""
    script = """
import threading
from concurrent.futures import ThreadPoolExecutor
from holdfast.cli import rollout
from holdfast.node.rollout.journal import Journal
from holdfast.node.rollout.layout import Layout

def hang(*_):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(threading.Event().wait).result()

rollout.known_layout = lambda root: (Layout(host=root), Journal())
rollout.hooks.prepare_containerd = hang
rollout.hooks.DEADLINE = 0.01
rollout.prepare_containerd()
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert done.returncode == -signal.SIGALRM


def test_a_watched_node_that_has_lost_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that watches a node has what served there serve again."""
    with model_of_a_node() as model:
        installed(model)
        forget(model)
        pauses = watched(model, monkeypatch, until=lambda: model.store == OURS)
        assert (pauses, model.starts()) == (rollout.FAILURES, [])
        found = load(model.layout)
        assert found is not None
        assert found.phase is Phase.HOLDFAST


def test_a_watched_node_whose_agent_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes another pod is said, and ends the one that watches."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    for state in ("present", "absent"):
        if state == "absent":
            Journal().store(Disk(), Layout(host=tmp_path))
        done = node("watch", "--host", tmp_path, "--state", state, "--interval", 1)
        assert done.exit_code == 1
        assert "delete it" in done.stderr


def watched(model: Model, monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> int:
    """Watches a node until something is so; returns how often it has paused."""
    pauses = 0

    def pause(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if until():
            sys.exit(0)

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(rollout, "host_of", lambda *_: model.host())
    assert node("watch", "--host", model.root).exit_code == 0
    return pauses


@pytest.mark.parametrize(
    ("says", "release"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1", "1.6.20"),
        ("containerd github.com/containerd/containerd/v2 v2.1.3 c787fb98", "2.1.3"),
        ("k3s version v1.31.1+k3s1 (452dbbc1)", ""),
        ("", ""),
    ],
)
def test_which_containerd_is_installed(tmp_path: Path, says: str, release: str) -> None:
    """The version of the containerd that a unit starts is the one that its program prints."""
    program = tmp_path / "containerd"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    assert Shown(program).release("containerd.service") == release


def test_a_containerd_that_cannot_be_asked(tmp_path: Path) -> None:
    """Without a program that can be run, no version is known."""
    program = tmp_path / "containerd"
    assert Shown(program).release("containerd.service") == ""
    program.write_text("")
    assert Shown(program).release("containerd.service") == ""


class Shown(Systemd):
    """A systemd whose units start one program."""

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        text = f"{{ path={self._program} ; argv[]={self._program} ; ignore_errors=no }}\n"
        return subprocess.CompletedProcess(arguments, 0, text, "")
