"""`holdfast retained` as people run it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from holdfast.digests import Digest
from holdfast.service.backends import STORE_FOLDER
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import RETAINED
from holdfast.storage.records import State
from tests.service.collector.world import World
from tests.service.processes import COMMAND, environment, run
from tests.stores.counting import CountingStore

DAY = 24 * 3600.0
BODIES = (b"first", b"second", b"third one")
HELD = b"held"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The store of a data folder: three blobs were given up, and a gc has seen it."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    world.commit("a", HELD)
    for body in BODIES:
        world.blobs.drop("a", world.commit("a", body))
    assert run("gc", data_dir=tmp_path).returncode == 0
    return world


def digests() -> list[str]:
    """The digests of what was given up, in order."""
    return sorted(str(Digest.of(body)) for body in BODIES)


def test_gc_reports_what_is_retained(world: World, tmp_path: Path) -> None:
    """A run says what is retained, its bytes, since when, and what the next may free."""
    del world
    shown = run("gc", data_dir=tmp_path).stdout.splitlines()
    assert shown[-2] == "freed 0 B"
    assert shown[-1].startswith("retains 20 B that nobody holds, in 3 blobs, the first since 20")
    told = json.loads(run("gc", "--json", data_dir=tmp_path).stdout)
    assert (told["retained"]["count"], told["retained"]["bytes"]) == (3, 20)
    assert abs(told["retained"]["since"] - time.time()) < DAY
    assert told["next_frees_bytes"] == 0
    assert told["ages"]["retain"] == 7 * DAY


def test_gc_retains_within_bytes(world: World, tmp_path: Path) -> None:
    """RETAIN_BYTES bounds what gc retains, and RETAIN_FOR how long."""
    del world
    settings = {"data_dir": tmp_path, "retain_bytes": "15B"}
    told = json.loads(run("gc", "--json", "--dry-run", **settings).stdout.splitlines()[-1])
    assert 0 < told["retained"]["bytes"] <= 15
    assert told["counts"]["records"]["evicted"]["count"] == 3 - told["retained"]["count"]
    told = json.loads(run("gc", "--json", data_dir=tmp_path, retain_for=0).stdout)
    assert told["retained"] == {"count": 0, "bytes": 0, "since": None}
    assert told["counts"]["records"]["condemned"]["count"] == 3


def test_list(world: World, tmp_path: Path) -> None:
    """A list has each blob that nobody holds, its bytes and since when, and none that is held."""
    del world
    head, *lines = run("retained", "list", data_dir=tmp_path).stdout.splitlines()
    assert head.split() == ["DIGEST", "BYTES", "GIVEN", "UP"]
    assert [line.split()[0] for line in lines] == digests()
    assert {line.split(maxsplit=3)[2] for line in lines} == {"B"}
    told = [
        *map(
            json.loads, run("retained", "list", "--json", data_dir=tmp_path).stdout.split("\n")[:-1]
        )
    ]
    assert [one["digest"] for one in told] == digests()
    assert sorted(one["size"] for one in told) == sorted(map(len, BODIES))
    for one in told:
        assert abs(one["since"] - time.time()) < DAY
        assert one["until"] == one["since"] + 7 * DAY
        assert one["dropped"] is False


def test_a_list_in_pieces(world: World, tmp_path: Path) -> None:
    """A list can be limited, and continued after its last digest."""
    del world
    found: list[str] = []
    after: list[str] = []
    for _ in range(3):
        lines = run("retained", "list", "--limit", "1", *after, data_dir=tmp_path).stdout
        found.append(lines.splitlines()[1].split()[0])
        after = ["--after", found[-1]]
    assert found == digests()
    assert run("retained", "list", *after, data_dir=tmp_path).stdout.count("\n") == 1


def test_drop(world: World, tmp_path: Path) -> None:
    """What is dropped is condemned by the next gc, and what is retained beside it stays."""
    first = Digest.of(BODIES[0])
    done = run("retained", "drop", str(first), "--yes", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "dropped 1, 5 B; the next gc condemns what nobody holds\n"
    lines = run("retained", "list", data_dir=tmp_path).stdout.splitlines()
    assert [line.endswith(" dropped") for line in lines if str(first) in line] == [True]
    assert world.state(first) is State.LIVE
    assert run("gc", data_dir=tmp_path).returncode == 0
    assert world.state(first) is State.CONDEMNED
    assert {world.state(Digest.of(body)) for body in (*BODIES[1:], HELD)} == {State.LIVE}


def test_drop_all(world: World, tmp_path: Path) -> None:
    """With --all everything that is retained is dropped, what is dropped already once only."""
    first = str(Digest.of(BODIES[0]))
    assert run("retained", "drop", first, "--yes", data_dir=tmp_path).returncode == 0
    done = run("retained", "drop", "--all", "--yes", "--json", data_dir=tmp_path)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["digest"], one["dropped"]) for one in told] == [(d, True) for d in digests()]
    assert len(world.keys(RETAINED)) == 6
    assert run("gc", data_dir=tmp_path).returncode == 0
    assert {world.state(Digest.of(body)) for body in BODIES} == {State.CONDEMNED}
    assert world.state(Digest.of(HELD)) is State.LIVE


@pytest.mark.parametrize("wanted", [[], ["--all", digests()[0]]])
def test_what_to_drop_must_be_said(tmp_path: Path, wanted: list[str]) -> None:
    """Neither digests nor --all, and both, are wrong usage."""
    assert run("retained", "drop", *wanted, "--yes", data_dir=tmp_path).returncode == 2


def test_what_is_not_retained_is_refused(world: World, tmp_path: Path) -> None:
    """If one of the digests is held or unknown, nothing is dropped."""
    before = world.tell()
    for wrong in (HELD, b"unknown"):
        done = run(
            *("retained", "drop", digests()[0], str(Digest.of(wrong)), "--yes"), data_dir=tmp_path
        )
        assert done.returncode == 3
        assert f"{Digest.of(wrong)} isn't retained" in done.stderr
    assert world.tell() == before


def test_dropping_takes_a_yes(world: World, tmp_path: Path) -> None:
    """Where nobody can be asked, nothing is dropped without --yes."""
    before = world.tell()
    done = run("retained", "drop", "--all", data_dir=tmp_path)
    assert done.returncode == 2
    assert "everything that nobody holds would be dropped" in done.stderr
    assert world.tell() == before


@pytest.mark.parametrize(("answer", "code", "marks"), [("n", 1, 3), ("y", 0, 6)])
def test_dropping_asks_at_a_terminal(
    world: World, tmp_path: Path, answer: str, code: int, marks: int
) -> None:
    """Whoever sits at a terminal is asked, and a no leaves everything as it is."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            [*COMMAND, "retained", "drop", "--all"],
            env=environment({"data_dir": tmp_path}),
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Drop everything that nobody holds?" in done.stderr
    assert len(world.keys(RETAINED)) == marks
