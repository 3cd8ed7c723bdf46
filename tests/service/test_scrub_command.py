"""`holdfast scrub` as a process: what it prints, its exit codes, its end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.service.scrub.brake import MOST
from holdfast.service.scrub.cursor import load
from holdfast.service.scrub.report import DamageKind
from holdfast.storage.folder import FolderStore
from holdfast.storage.records import Records, State
from tests.servers.process import free_port, wait_until
from tests.service.fleet import refused
from tests.service.processes import COMMAND, connected, environment, run, serving
from tests.service.scrubbing import commit, delete_data


@pytest.fixture
def stored(tmp_path: Path) -> FolderStore:
    """The store of a data folder."""
    store = FolderStore(tmp_path / "data" / "store")
    store.check_access()
    return store


def test_all_is_well(tmp_path: Path, stored: FolderStore) -> None:
    """With nothing damaged it says so, and exits with 0."""
    commit(stored, b"hello")
    done = run("scrub", data_dir=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "1 records, 1 holds, 5 B read" in done.stdout
    assert "all is well" in done.stdout
    assert done.stderr == ""


def test_the_folder_for_sorting_is_looked_for_first(tmp_path: Path, stored: FolderStore) -> None:
    """A folder that can't be used is refused before any record is read, and so before any mark."""
    digest = commit(stored, bytes(100_000))
    delete_data(stored, digest)
    missing = str(tmp_path / "missing")
    done = run("scrub", "--spool-dir", missing, data_dir=tmp_path / "data")
    assert done.returncode == 1
    assert "--spool-dir" in done.stderr
    seen = Records(stored).read(digest)
    assert seen is not None
    assert seen.record.state is State.LIVE


def test_findings(tmp_path: Path, stored: FolderStore) -> None:
    """Findings are a table, or JSON, with the digest and what was done, and exit code 1."""
    digest = commit(stored, bytes(100_000))
    delete_data(stored, digest)
    done = run("scrub", "--json", "--dry-run", data_dir=tmp_path / "data")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["found"] == {DamageKind.DATA_MISSING: 1}
    assert report["findings"][0]["digest"] == str(digest)
    assert report["findings"][0]["action"] == "would_be_marked_corrupt"
    assert (report["well"], report["finished"], report["records"]) == (False, True, 1)
    done = run("scrub", data_dir=tmp_path / "data")
    assert done.returncode == 1, done.stderr
    row = next(line for line in done.stdout.splitlines() if str(digest) in line)
    assert "data_missing" in row
    assert "marked_corrupt" in row
    assert "not all is well: 1 data_missing" in done.stdout


def test_the_brake(tmp_path: Path, stored: FolderStore) -> None:
    """Where too much is damaged it stops, exits with 1 and says how to go on; --accept goes on."""
    for n in range(MOST + 2):
        delete_data(stored, commit(stored, bytes(100_000 + n)))
    done = run("scrub", data_dir=tmp_path / "data")
    assert done.returncode == 1, done.stderr
    assert "stopped marking" in done.stderr
    assert "--accept" in done.stderr
    assert "stopped before the end" in done.stdout
    done = run("scrub", "--json", data_dir=tmp_path / "data")
    report = json.loads(done.stdout)
    assert (report["finished"], bool(report["brake"])) == (False, True)
    done = run("scrub", "--json", "--accept", data_dir=tmp_path / "data")
    report = json.loads(done.stdout)
    assert (report["finished"], report["brake"]) == (True, "")


@pytest.mark.parametrize(
    "arguments", [["--rate", "fast"], ["--rate", "-1"], ["--from", "sha256:1"], ["--workers", "0"]]
)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    """A rate, a digest or a number of workers that is none is wrong usage."""
    done = run("scrub", *arguments, data_dir=tmp_path / "data")
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr


def test_redis_away(tmp_path: Path, stored: FolderStore) -> None:
    """With Redis away it marks all the same, and says that frontends will notice late."""
    url = f"redis://127.0.0.1:{free_port()}"
    commit(stored, b"hello")
    assert run("scrub", data_dir=tmp_path / "data", redis_url=url).returncode == 0
    delete_data(stored, commit(stored, bytes(100_000)))
    done = run("scrub", data_dir=tmp_path / "data", redis_url=url)
    assert done.returncode == 1, done.stderr
    assert "marked_corrupt" in done.stdout
    assert "Redis can't be reached" in done.stderr


async def test_beside_an_embedded_frontend(tmp_path: Path, stored: FolderStore) -> None:
    """Beside an embedded frontend it reaches that one's Redis, and Info notices at once."""
    data = bytes(range(256)) * 400
    with serving(tmp_path / "log", data_dir=tmp_path / "data") as served:
        async with connected(served.address, "a") as client:
            await client.commit("ref", data)
            [entry] = await client.list()
            for _ in range(2):
                await client.info(entry.digest)
            [stored_data] = stored.list("data/")
            stored.delete(stored_data.key)
            done = run("scrub", data_dir=tmp_path / "data")
            assert done.returncode == 1, done.stderr
            assert done.stderr.count("Redis") == 0
            await refused(StatusCode.NOT_FOUND, client.info(entry.digest))


@contextmanager
def looping(tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A scrub in a loop, once it has begun."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as output, err.open("wb") as errors:
        process = subprocess.Popen(
            [*COMMAND, "scrub", "--loop", "--json", *arguments],
            env=environment({"data_dir": tmp_path / "data", "log_format": "json"}),
            stdout=output,
            stderr=errors,
        )
    try:

        def begun() -> bool:
            said = out.read_bytes() + err.read_bytes()
            assert process.poll() is None, said
            return b"scrub started" in said

        wait_until(begun, "holdfast scrub")
        yield process
    finally:
        process.kill()
        process.wait()


def reports(tmp_path: Path) -> list[dict[str, object]]:
    """What a scrub in a loop has printed."""
    lines = map(json.loads, (tmp_path / "out").read_text().splitlines())
    return [line for line in lines if "well" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm(tmp_path: Path, stored: FolderStore, number: signal.Signals) -> None:
    """A signal ends it cleanly in the middle of a pass, with its cursor saved."""
    for n in range(5):
        commit(stored, bytes(100_000 + n))
    with looping(tmp_path, "--rate", "1", "--workers", "1") as process:
        process.send_signal(number)
        assert process.wait(60) == 0
    [report] = reports(tmp_path)
    assert report["finished"] is False
    assert load(stored) is not None


def test_loop(tmp_path: Path, stored: FolderStore) -> None:
    """In a loop each pass finds what has been damaged since the last one."""
    digest = commit(stored, bytes(100_000))
    with looping(tmp_path, "--pause", "1") as process:
        wait_until(lambda: len(reports(tmp_path)) == 1, "the first pass")
        delete_data(stored, digest)
        wait_until(lambda: not reports(tmp_path)[-1]["well"], "a later pass")
        process.terminate()
        assert process.wait(60) == 1
