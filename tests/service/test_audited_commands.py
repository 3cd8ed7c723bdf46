"""The audit log of operators' commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.service.backends import STORE_FOLDER
from holdfast.storage.folder import FolderStore
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.service.collector.world import World
from tests.service.processes import run
from tests.stores.counting import CountingStore

GIVEN_UP = str(Digest.of(b"given up"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A data folder with two tenants, and a blob that a gc has found without a hold."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    for name in ("node-1", "node-2"):
        world.commit(name, b"layer")
        Sightings(store, new_nonce).touch(name)
    world.blobs.drop("node-1", world.commit("node-1", b"given up"))
    assert run("gc", data_dir=tmp_path).returncode == 0
    return world


def lines(path: Path) -> list[dict[str, Any]]:
    """The audit log, without what every line has."""
    found = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    for line in found:
        assert line.pop("event") == "audit"
        assert line.pop("action") == "command"
        assert line.pop("timestamp")
        assert line.pop("peer").startswith("host:")
        assert line.pop("role") == "operator"
        assert line.pop("rule") == "command line"
        assert line.pop("subject") == f"uid:{os.getuid()}"
    return found


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            ("tenants", "drop", "node-1", "--yes"),
            [{"command": "tenants drop", "target": "node-1", "outcome": "OK"}],
        ),
        (
            ("gc", "--tenant-gone", "node-1", "--tenant-gone", "node-2", "--yes"),
            [
                {"command": "gc", "target": "node-1", "outcome": "OK"},
                {"command": "gc", "target": "node-2", "outcome": "OK"},
                {"command": "gc", "outcome": "OK"},
            ],
        ),
        (
            ("gc", "--accept", "unreadable"),
            [{"command": "gc", "accept": "unreadable", "outcome": "OK"}],
        ),
        (
            ("retained", "drop", "--all", "--yes"),
            [
                {"command": "retained drop", "digest": GIVEN_UP, "outcome": "OK"},
                {"command": "retained drop", "target": "all", "outcome": "OK"},
            ],
        ),
        (
            ("tenants", "expire", "--unseen-for", "30d", "--apply", "--accept"),
            [{"command": "tenants expire", "accept": "all", "outcome": "OK"}],
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("world")
def test_a_command_that_gives_content_up_is_written(
    tmp_path: Path, arguments: tuple[str, ...], wanted: list[dict[str, Any]]
) -> None:
    """A command that changes what the fleet keeps has a line, and one for each thing it drops."""
    done = run(*arguments, data_dir=tmp_path, audit=tmp_path / "audit")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "audit") == wanted


@pytest.mark.parametrize(
    "arguments",
    [
        ("gc",),
        ("gc", "--dry-run", "--tenant-gone", "node-1"),
        ("tenants", "list"),
        ("tenants", "expire", "--unseen-for", "30d"),
        ("retained", "list"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("world")
def test_a_command_that_only_looks_is_not_written(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """What changes nothing, or runs every hour, has no line."""
    assert run(*arguments, data_dir=tmp_path, audit=tmp_path / "audit").returncode == 0
    assert not (tmp_path / "audit").exists()


@pytest.mark.usefixtures("world")
def test_a_command_that_fails_is_written(tmp_path: Path) -> None:
    """A command that couldn't do it has a line that says why."""
    settings = {
        "data_dir": tmp_path,
        "audit": tmp_path / "audit",
        "redis_url": "redis://127.0.0.1:1",
    }
    done = run("tenants", "drop", "node-1", "--yes", **settings)
    assert done.returncode != 0
    [line] = lines(tmp_path / "audit")
    assert (line["command"], line["outcome"]) == ("tenants drop", "FAILED")
    assert "Redis" in line["reason"]


@pytest.mark.usefixtures("world")
def test_without_an_audit_log_nothing_is_done(tmp_path: Path) -> None:
    """If the audit log can't be opened, the command does nothing."""
    done = run(
        "tenants", "drop", "node-1", "--yes", data_dir=tmp_path, audit=tmp_path / "no" / "audit"
    )
    assert done.returncode == 1
    assert "audit log" in done.stderr
    shown = run("tenants", "list", "--json", data_dir=tmp_path).stdout
    assert "node-1" in shown
