"""`holdfast gc` as users and cron jobs run it."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from holdfast.digests import Digest
from holdfast.service.backends import STORE_FOLDER, open_store
from holdfast.service.collector.report import CollectedKind, CollectionReport, Fate
from holdfast.service.commands import gc as gc_command
from holdfast.service.commands.rehearsal import SHOWN
from holdfast.service.settings import Settings
from holdfast.storage.fleet import declare_lifetime
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import HOLDS, record_key
from holdfast.storage.records import FORMAT, State
from tests.servers.process import wait_until
from tests.servers.redis import redis_server
from tests.servers.s3 import S3Server
from tests.service.collector.world import World
from tests.service.processes import COMMAND, environment, run, serving
from tests.storage.edited import edited
from tests.stores.counting import CountingStore

DAY = 24 * 3600.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The store of a data folder, with a blob that is held and one that isn't."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    world.commit("a", b"held")
    world.blobs.drop("a", world.commit("a", b"unheld"))
    return world


def test_a_run_prints_json(world: World, tmp_path: Path) -> None:
    """With --json one object on a line says what was done, and by which ages."""
    done = run("gc", "--json", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    told = json.loads(line)
    assert told["ok"] is True
    assert told["ages"]["data"] == 2 * DAY
    assert told["counts"]["records"]["condemned"] == {"count": 1, "bytes": len(b"unheld")}
    assert told["brakes"] == []
    assert world.read(Digest.of(b"held")) == b"held"
    assert done.stderr == ""


def test_a_rehearsal_prints_a_table(world: World, tmp_path: Path) -> None:
    """Without --json a table says it; a dry run says what would be done, and doesn't do it."""
    before = world.tell()
    done = run("gc", "--dry-run", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines() if "done: cond" in line] == ["B"]
    assert "would free 0 B" in done.stdout
    digest = Digest.of(b"unheld")
    assert f"would be condemned: records  {digest}  6 B" in done.stdout.splitlines()
    assert world.tell() == before


def test_a_rehearsal_names_all_to_programs(world: World, tmp_path: Path) -> None:
    """A dry run with --json names each thing on a line before the report; a table some of them."""
    unheld = {world.commit("a", b"%d" % number) for number in range(SHOWN + 5)}
    for digest in unheld:
        world.blobs.drop("a", digest)
    old = world.put_data(b"garbage").data_key
    then = time.time() - 30 * DAY
    os.utime(tmp_path / STORE_FOLDER / "objects" / old, (then, then))
    done = run("gc", "--dry-run", "--json", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 0, done.stderr
    *named, report = map(json.loads, done.stdout.splitlines())
    wanted = {str(digest) for digest in unheld | {Digest.of(b"unheld")}}
    assert {one["name"] for one in named} == wanted
    assert {(one["kind"], one["would_be"]) for one in named} == {("records", "condemned")}
    assert report["counts"]["records"]["condemned"]["count"] == len(named)
    shown = run("gc", "--dry-run", data_dir=tmp_path, retain_for=0).stdout.splitlines()
    assert len([line for line in shown if line.startswith("would be ")]) == SHOWN
    assert "and 6 more; --json names all" in shown


def test_a_rehearsal_names_data_that_is_due(world: World, tmp_path: Path) -> None:
    """Of data, only what this run would delete is named: what another run has doomed."""
    key = world.put_data(b"garbage").data_key
    old = time.time() - 3 * DAY
    os.utime(tmp_path / STORE_FOLDER / "objects" / key, (old, old))
    assert run("gc", data_dir=tmp_path).returncode == 0
    rehearsed = run("gc", "--dry-run", data_dir=tmp_path).stdout
    assert "would be deleted" not in rehearsed
    for path in (tmp_path / STORE_FOLDER / "objects" / "collector").rglob("*"):
        os.utime(path, (old, old))
    rehearsed = run("gc", "--dry-run", data_dir=tmp_path).stdout
    assert f"would be deleted: data  {key}  7 B" in rehearsed.splitlines()


def test_an_error_is_told_with_what_was_done(world: World, tmp_path: Path) -> None:
    """A run that couldn't do all exits with 1, and still reports what it did."""
    key = record_key(world.commit("a", b"newer"))
    body = world.store.get(key).body
    world.store.put(key, edited(body, format=FORMAT + 1))
    world.blobs.drop("a", Digest.of(b"newer"))
    done = run("gc", "--accept", "unreadable", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 1
    assert "upgrade Holdfast" in done.stderr
    assert "Traceback" not in done.stderr
    assert "done: condemned" in done.stdout


def test_a_brake_is_told_and_accepted_once(world: World, tmp_path: Path) -> None:
    """A run that stops for a brake exits with 1 and says how to go on; accepted, it goes on."""
    for number in range(20):
        world.blobs.make_hold("a", world.new_hold(world.put_data(b"%d" % number)))
    done = run("gc", "--json", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    [brake] = told["brakes"]
    assert (brake["brake"], brake["accepted"]) == ("without-content", False)
    assert "holdfast gc --accept without-content" in told["errors"][0]
    assert world.state(Digest.of(b"unheld")) is State.LIVE
    rehearsed = run("gc", "--dry-run", data_dir=tmp_path, retain_for=0)
    assert rehearsed.returncode == 1
    assert "brake without-content" in rehearsed.stderr
    assert "done: condemned" in rehearsed.stdout
    done = run("gc", "--accept", "without-content", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 0, done.stderr
    assert world.state(Digest.of(b"unheld")) is State.CONDEMNED


@pytest.mark.parametrize(
    "arguments", [["--accept", "order"], ["--accept", "x"], ["--accept", "delete", "--loop", "9"]]
)
def test_what_cannot_be_accepted(tmp_path: Path, arguments: list[str]) -> None:
    """Only brakes that somebody can have judged are accepted, and for one run."""
    done = run("gc", *arguments, data_dir=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "--accept" in done.stderr


def test_what_is_doomed_is_listed(world: World, tmp_path: Path) -> None:
    """The data that a run has doomed is listed with its size, and since when."""
    key = world.put_data(b"garbage").data_key
    old = time.time() - 3 * DAY
    os.utime(tmp_path / STORE_FOLDER / "objects" / key, (old, old))
    assert run("gc", "--doomed", data_dir=tmp_path).stdout == "0 doomed, 0 B\n"
    done = run("gc", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "freed 0 B; the next run may free 7 B" in done.stdout.splitlines()
    shown = run("gc", "--doomed", data_dir=tmp_path)
    assert shown.returncode == 0, shown.stderr
    first, last = shown.stdout.splitlines()
    assert first.startswith(f"{key}  7 B  since 20")
    assert last == "1 doomed, 7 B"
    told = json.loads(run("gc", "--doomed", "--json", data_dir=tmp_path).stdout)
    assert (told["key"], told["bytes"]) == (key, 7)
    assert abs(told["since"] - time.time()) < DAY


@pytest.mark.parametrize("declared", [0.0, 2 * DAY])
def test_unsafe_ages_are_refused(world: World, tmp_path: Path, declared: float) -> None:
    """Ages that this program's ingests, or another frontend's, could reach are refused."""
    if declared:
        declare_lifetime(world.store, declared)
    age = DAY if not declared else 2 * DAY
    done = run("gc", "--gc-data-age", f"{age}", data_dir=tmp_path)
    assert done.returncode == (1 if declared else 2)
    assert f"gc_data_age {age:g} s is unsafe" in done.stderr
    assert done.stdout == ""


def test_a_tenant_must_be_one(tmp_path: Path) -> None:
    """What can't be a tenant's name is a usage error."""
    done = run("gc", "--tenant-gone", "a/b", data_dir=tmp_path)
    assert done.returncode == 2, done.stderr


def test_a_tenant_that_nobody_has_seen_is_refused(world: World, tmp_path: Path) -> None:
    """A name that holds nothing and was never seen is misspelt, whoever says yes to it."""
    before = world.tell()
    for arguments in (["gc", "--tenant-gone", "aa"], ["tenants", "drop", "aa"]):
        done = run(*arguments, "--yes", data_dir=tmp_path)
        assert done.returncode == 3, done.stderr
        assert "tenant aa was never seen and holds nothing" in done.stderr
    assert run("gc", "--tenant-gone", "aa", "--dry-run", data_dir=tmp_path).returncode == 3
    assert world.tell() == before


GIVING_UP = [["gc", "--tenant-gone", "a"], ["tenants", "drop", "a"]]


@pytest.mark.parametrize("command", GIVING_UP, ids=" ".join)
def test_giving_up_takes_a_yes(world: World, tmp_path: Path, command: list[str]) -> None:
    """Where nobody can be asked, all that a tenant holds is given up only with --yes."""
    before = world.tell()
    done = run(*command, data_dir=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "--yes" in done.stderr
    assert world.tell() == before
    assert run(*command, "--yes", data_dir=tmp_path).returncode == 0
    assert world.keys(HOLDS) == []


@pytest.mark.parametrize("command", GIVING_UP, ids=" ".join)
@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 1), ("y", 0, 0)])
def test_giving_up_asks_at_a_terminal(
    world: World, tmp_path: Path, command: list[str], answer: str, code: int, left: int
) -> None:
    """Whoever sits at a terminal is asked, and a no leaves everything as it is."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            [*COMMAND, *command],
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
    assert "Give up all that a holds?" in done.stderr
    assert len(world.keys(HOLDS)) == left


def test_a_rehearsal_of_giving_up_asks_nobody(world: World, tmp_path: Path) -> None:
    """A dry run needs no yes, and names the digests that would be given up."""
    done = run("gc", "--tenant-gone", "a", "--dry-run", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"would be given up: holds  {Digest.of(b'held')} of a" in done.stdout.splitlines()
    assert len(world.keys(HOLDS)) == 1


def test_a_folder_for_listings_must_be_there(tmp_path: Path) -> None:
    """A spool folder that isn't there is named."""
    done = run("gc", "--spool-dir", str(tmp_path / "absent"), data_dir=tmp_path)
    assert done.returncode == 1
    assert "--spool-dir" in done.stderr


def test_beside_a_frontend(world: World, tmp_path: Path) -> None:
    """On the data folder of a running frontend it uses that one's Redis."""
    del world
    with serving(tmp_path / "serve.log", data_dir=tmp_path) as served:
        done = run("gc", "--json", "--tenant-gone", "a", "--yes", data_dir=tmp_path)
        assert done.returncode == 0, done.stderr
        assert served.process.poll() is None
    assert json.loads(done.stdout)["counts"]["holds"]["given_up"]["count"] == 1


def test_a_loop_runs_until_it_is_told_to_stop(world: World, tmp_path: Path) -> None:
    """A loop runs again and again, and ends well at SIGTERM."""
    del world
    output = tmp_path / "gc.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "gc", "--loop", "1", "--json"],
            env=environment({"data_dir": tmp_path, "log_format": "json"}),
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: output.read_bytes().count(b"\n") >= 2, "two runs")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert all(json.loads(line)["ok"] for line in output.read_text().splitlines())


@pytest.mark.parametrize("dry", [True, False])
def test_on_a_bucket(moto: S3Server, tmp_path: Path, unique: str, dry: bool) -> None:
    """On a bucket it collects; a dry run doesn't even probe it, since a probe writes."""
    settings: dict[str, Any] = {
        "s3_bucket": moto.bucket,
        "s3_endpoint": moto.endpoint,
        "s3_prefix": f"{unique}/",
        "s3_path_style": True,
        "retain_for": 0,
    }
    with (
        # A collector walks all of a Redis: other tests' tenants must not be in it.
        redis_server(tmp_path) as redis_url,
        closing(open_store(Settings(redis_url=redis_url, **settings))) as store,
    ):
        world = World(CountingStore(store))
        digest = world.commit("a", b"unheld")
        world.blobs.drop("a", digest)
        done = run("gc", "--json", *(["--dry-run"] if dry else []), redis_url=redis_url, **settings)
        assert done.returncode == 0, done.stderr
        *named, report = map(json.loads, done.stdout.splitlines())
        assert report["counts"]["records"]["condemned"]["count"] == 1
        assert len(named) == dry
        assert world.state(digest) is (State.LIVE if dry else State.CONDEMNED)


def test_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a line shows what is being done and what was seen so far."""
    monkeypatch.setenv("TERM", "xterm")  # on a dumb terminal no line can be drawn anew
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(gc_command, "console", lambda **_: terminal)
    report = CollectionReport(dry_run=False)
    report.doing = "condemning"
    report.note(CollectedKind.HOLDS, Fate.SEEN)
    report.note(CollectedKind.RECORDS, Fate.HELD)
    with ExitStack() as stack:
        gc_command._progress(stack)(report)
    assert "condemning: 1 holds seen" in screen.getvalue()
