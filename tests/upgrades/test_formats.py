"""What a later version has written: whoever can't read it leaves it, and all that it may need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.digests import Digest
from holdfast.service.backends import STORE_FOLDER
from holdfast.service.collector import census
from holdfast.service.scrub import cursor
from holdfast.storage import fleet, held, pairing
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import HOLDS, record_key
from holdfast.storage.run_reports import Reporter, key_of
from tests.service.scrubbing import commit
from tests.storage.edited import edited, newer
from tests.upgrades.aging import grow_old, objects
from tests.upgrades.versions import Version

SIZE = 100_000
RUNS = 4
"""Of the collector, eight days apart: enough to condemn, bury, doom and delete what is unheld."""
LATER = 99
"""A format that no version here knows."""

Change = Callable[[FolderStore, Digest], None]


def a_record(store: FolderStore, digest: Digest) -> None:
    """Writes a record as a later version might: in another format, with more in it."""
    key = record_key(digest)
    store.put(key, edited(store.get(key).body, format=LATER, shards=["data/elsewhere"]))


def a_hold(store: FolderStore, digest: Digest) -> None:
    """Writes the digest's only hold as a later version might."""
    [entry] = [entry for entry in store.list(HOLDS) if digest.hex in entry.key]
    store.put(entry.key, edited(store.get(entry.key).body, format=LATER, until="a time"))


def the_lifetime(store: FolderStore, digest: Digest) -> None:
    """Writes what the whole fleet has agreed on as a later version might."""
    del digest
    store.put(fleet.LIFETIME, newer(LATER))


# What the old one does can't change any more.
@pytest.fixture(params=[pytest.param("old", marks=pytest.mark.slow), "new"])
def version(old: Version, new: Version, request: pytest.FixtureRequest) -> Version:
    """Either version."""
    return {"old": old, "new": new}[request.param]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """The store of a data folder."""
    made = FolderStore(tmp_path / STORE_FOLDER)
    made.check_access()
    fleet.declare_lifetime(made, 86400.0)
    return made


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(a_record, "can't be read"), (a_hold, ""), (the_lifetime, "upgrade Holdfast")],
)
def test_a_collector(
    version: Version,
    store: FolderStore,
    change: Change,
    complaint: str,
    tmp_path: Path,
    redis_url: str,
) -> None:
    """A collector deletes nothing that a record, a hold or a rule it can't read may protect."""
    digest = commit(store, bytes(SIZE), "a")
    change(store, digest)
    before = objects(tmp_path)
    complaints = ""
    for _ in range(RUNS):
        grow_old(tmp_path, 8)
        done = version.run("gc", "--json", data_dir=tmp_path, redis_url=redis_url)
        complaints += done.stdout + done.stderr
        assert "Traceback" not in complaints
        assert bool(complaint) == (done.returncode == 1)
    assert complaint in complaints
    after = objects(tmp_path)
    assert {key: after.get(key) for key in before} == before


def test_a_scrub(version: Version, store: FolderStore, tmp_path: Path, redis_url: str) -> None:
    """A scrub names what it can't read, and marks nothing of it."""
    first, second = commit(store, bytes(SIZE)), commit(store, bytes(SIZE + 1))
    a_record(store, first)
    a_hold(store, second)
    before = objects(tmp_path)
    done = version.run("scrub", "--json", data_dir=tmp_path, redis_url=redis_url)
    assert json.loads(done.stdout)["found"] == {"record_newer": 1, "hold_newer": 1}
    after = objects(tmp_path)
    assert {key: after.get(key) for key in before} == before


@pytest.mark.parametrize("key", [fleet.LIFETIME, pairing.PAIRED])
def test_a_frontend(
    version: Version, store: FolderStore, key: str, tmp_path: Path, redis_url: str
) -> None:
    """A frontend that can't read what its fleet has agreed on doesn't start, and says why."""
    store.put(key, newer(LATER))
    done = version.run(
        "serve", data_dir=tmp_path, redis_url=redis_url, listen="tcp://127.0.0.1:0?tenant=a"
    )
    assert done.returncode == 1
    assert f"object {key} has format version {LATER}" in done.stderr
    assert "upgrade Holdfast" in done.stderr
    assert store.get(key).body == newer(LATER)


def test_what_costs_only_time(
    version: Version, store: FolderStore, tmp_path: Path, redis_url: str
) -> None:
    """After a rollback, what later versions noted for themselves keeps no program from its work."""
    digest = commit(store, bytes(SIZE), "a")
    doomed = "collector/doomed/01a20e84-3f3a-75f8-9e4b-c8bac018c817/complete"
    for key in (census.KEY, cursor.CURSOR, held.KEY, doomed, *map(key_of, Reporter)):
        store.put(key, newer(LATER))
    settings = {"data_dir": tmp_path, "redis_url": redis_url}
    assert version.run("gc", **settings).returncode == 1  # once, and says what it can't read
    version.done("gc", **settings)
    version.done("scrub", **settings)
    assert {record_key(digest)} == {entry.key for entry in store.list("blobs/")}
