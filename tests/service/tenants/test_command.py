"""`holdfast tenants` as users and cron jobs run it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from holdfast.errors import InvalidArgument
from holdfast.service.backends import STORE_FOLDER
from holdfast.service.commands.tenants import seconds
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import HOLDS, SNAPSHOTS, missing_key, seen_key, snapshot_prefix
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.service.collector.world import World
from tests.service.processes import COMMAND, environment, run
from tests.stores.counting import CountingStore

DAY = 24 * 3600


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The store of a data folder, in which two tenants hold a blob; they were seen just now."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    for name in ("node-1", "node-2"):
        world.commit(name, b"layer")
        Sightings(store, new_nonce).touch(name)
    return world


def grow_old(folder: Path, key: str, days: int) -> None:
    """Makes an object of a folder older."""
    then = time.time() - days * DAY
    os.utime(folder / STORE_FOLDER / "objects" / key, (then, then))


def holders(world: World) -> list[str]:
    return sorted({key.split("/")[1] for key in world.keys(HOLDS)})


def test_list(world: World, tmp_path: Path) -> None:
    """A line for each tenant, or a JSON object."""
    del world
    done = run("tenants", "list", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    header, first, second = done.stdout.splitlines()
    assert header.split() == ["TENANT", "DIGESTS", "BYTES", "SEEN"]
    assert first.split()[:4] == ["node-1", "1", "5", "B"]
    assert second.startswith("node-2")
    done = run("tenants", "list", "--json", "--no-sizes", data_dir=tmp_path)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["tenant"], one["digests"], one["bytes"]) for one in told] == [
        ("node-1", 1, None),
        ("node-2", 1, None),
    ]
    assert abs(told[0]["seen_at"] - time.time()) < DAY


def test_shares_of_quotas(world: World, tmp_path: Path) -> None:
    """The list says how much of its quota each tenant uses, and JSON has the quotas."""
    del world
    file = tmp_path / "quotas.toml"
    file.write_text('[tenants."node-1"]\nholds = 4\nbytes = 10')
    done = run("tenants", "list", data_dir=tmp_path, quotas=file)
    _, first, second = done.stdout.splitlines()
    assert first.endswith("25 % of 4 digests, 50 % of 10 B")
    assert "%" not in second
    done = run("tenants", "list", "--json", data_dir=tmp_path, quotas=file)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["digests_quota"], one["bytes_quota"]) for one in told] == [(4, 10), (None, None)]


def test_drop_takes_a_yes(world: World, tmp_path: Path) -> None:
    """Without --yes nothing is dropped; with it all that the tenant holds is, and snapshots."""
    for tenant in ("node-1", "node-2"):
        world.store.put(f"{snapshot_prefix(tenant)}name/000000", b"chunk")
    assert run("tenants", "drop", "node-1", data_dir=tmp_path).returncode == 2
    assert holders(world) == ["node-1", "node-2"]
    done = run("tenants", "drop", "node-1", "--yes", "--json", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    told = {"tenant": "node-1", "digests": 1, "ingests": 0, "complete": True}
    assert json.loads(done.stdout) == told
    assert holders(world) == ["node-2"]
    assert world.keys(SNAPSHOTS) == [f"{snapshot_prefix('node-2')}name/000000"]


def test_expire(world: World, tmp_path: Path) -> None:
    """By a list on stdin: said, then marked, and dropped only by a later run."""

    def expire(*arguments: str) -> list[str]:
        done = subprocess.run(
            [*COMMAND, "tenants", "expire", "--existing", "-", *arguments],
            env=environment({"data_dir": tmp_path}),
            input="node-2\nnode-3\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert "would be marked missing" in expire()[0]
    assert "node-1: marked missing" in expire("--apply")[0]
    assert "node-1: missing, to be dropped from" in expire("--apply")[0]
    assert holders(world) == ["node-1", "node-2"]
    for key in (seen_key("node-1"), missing_key("node-1")):
        grow_old(tmp_path, key, days=2)
    assert "node-1: would be dropped" in expire()[0]
    [line, kept] = expire("--apply", "--json")
    assert json.loads(line)["verdict"] == "dropped"
    assert json.loads(kept) | {"seen_at": 0} == {
        "tenant": "node-2", "verdict": "kept", "applied": True,
        "seen_at": 0, "due_at": None, "why": "",
    }  # fmt: skip
    assert holders(world) == ["node-2"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "to say which tenants are gone"),
        (("--unseen-for", "30"), "isn't a time"),
        (("--unseen-for", "30d", "--grace", "1h"), "unsafe"),
        (("--existing", "/dev/null"), "names no tenant"),
        (("--existing", "kubernetes"), "Kubernetes pod"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    """An order that can't be meant, or isn't safe, is refused before anything is looked at."""
    done = run("tenants", "expire", *arguments, data_dir=tmp_path)
    assert done.returncode in {1, 2}
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tenant_must_be_one(tmp_path: Path) -> None:
    """What can't be a tenant's name is a usage error."""
    assert run("tenants", "drop", "--yes", "a/b", data_dir=tmp_path).returncode == 2


@pytest.mark.parametrize(("text", "value"), [("30d", 30 * DAY), ("12h", 43200), ("5m", 300)])
def test_times(text: str, value: int) -> None:
    """A time is a number with its unit."""
    assert seconds("--x", text) == value


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5d", "d", "1w", "1 d", "٣d"])
def test_no_times(text: str) -> None:
    """All else is none, and the option is named."""
    with pytest.raises(InvalidArgument, match="--x"):
        seconds("--x", text)
