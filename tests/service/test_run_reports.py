"""What jobs that nobody scrapes did, as a frontend shows it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from holdfast.digests import Digest
from holdfast.service.backends import STORE_FOLDER
from holdfast.service.process.report_figures import ReportFigures
from holdfast.service.process.workers import Workers
from holdfast.service.store.run_reports import ReportWatch
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import DATA, DELETING, hold_prefix, record_key
from holdfast.storage.records import new_nonce
from holdfast.storage.run_reports import Reporter, key_of
from holdfast.storage.sightings import Sightings
from tests.service.figures import samples
from tests.service.processes import run
from tests.service.scrubbing import commit, delete_data
from tests.storage.test_run_reports import DONE, FAILED

BLOB = bytes(100_000)
NOW = 1_795_000_000.0


@pytest.fixture
def stored(tmp_path: Path) -> FolderStore:
    """The store of a data folder: two tenants hold a large blob, one of them a small one, too."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    for tenant in ("a", "b"):
        commit(store, BLOB, tenant)
        Sightings(store, new_nonce).touch(tenant)
    commit(store, b"small")
    return store


class Shown:
    """A frontend's reading of the reports, and what it shows of them."""

    def __init__(self, store: FolderStore, workers: Workers) -> None:
        self.figures = ReportFigures()
        self.registry = CollectorRegistry()
        self.registry.register(self.figures)
        self.watch = ReportWatch(store, workers, self.figures, lambda: NOW)

    async def of(self, program: str = "") -> dict[str, float]:
        """What is shown of a program's last run, or of the fleet."""
        await self.watch.look()
        prefix = "holdfast_run_" if program else "holdfast_fleet_"
        return {
            one.name.removeprefix(prefix): one.value
            for one in samples(self.registry)
            if one.name.startswith(prefix) and one.labels.get("program", "") == program
        }


@pytest.fixture
async def shown(stored: FolderStore) -> AsyncIterator[Shown]:
    """What a frontend on that store shows."""
    workers = Workers(2, 1)
    yield Shown(stored, workers)
    await workers.close(5.0)


async def test_a_collection(stored: FolderStore, shown: Shown, tmp_path: Path) -> None:
    """A job's run is shown with what it counted; a run that fails leaves both standing."""
    assert run("gc", "--dry-run", data_dir=tmp_path).returncode == 0
    assert await shown.of("collector") == await shown.of() == {}
    began, data = time.time(), len(list(stored.list(DATA)))
    done = run("gc", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    last = await shown.of("collector")
    assert began - 2 <= last["ended_timestamp_seconds"] <= time.time() + 2
    assert last["succeeded_timestamp_seconds"] == last["ended_timestamp_seconds"]
    assert last["first_timestamp_seconds"] == last["ended_timestamp_seconds"]
    assert last["seconds"] > 0
    assert (last["found"], last["kept"], last["freed"], last["errors"]) == (data, data, 0, 0)
    fleet = await shown.of()
    assert began - 2 <= fleet.pop("counted_timestamp_seconds") <= time.time() + 2
    assert fleet == {
        "tenants": 2,
        "holds": 3,
        "blobs": 2,
        "held_bytes": len(BLOB) + len(b"small"),
        "tenant_bytes": 2 * len(BLOB) + len(b"small"),
        "retained_blobs": 0,
        "retained_bytes": 0,
    }
    stored.put(record_key(Digest.of(b"small")), b"broken")
    assert run("gc", data_dir=tmp_path).returncode == 1
    failed = await shown.of("collector")
    assert failed["errors"] > 0
    assert failed["ended_timestamp_seconds"] > last["ended_timestamp_seconds"]
    assert failed["succeeded_timestamp_seconds"] == last["succeeded_timestamp_seconds"]
    assert failed["first_timestamp_seconds"] == last["first_timestamp_seconds"]
    assert (await shown.of())["tenants"] == 2


async def test_a_tenant_counts_once(stored: FolderStore, shown: Shown, tmp_path: Path) -> None:
    """However often a tenant holds a blob, and with a Delete under way, it needs it once."""
    commit(stored, BLOB, "a")
    for held in list(stored.list(hold_prefix("a", Digest.of(BLOB)))):
        stored.put(held.key + DELETING, b"")
    assert run("gc", data_dir=tmp_path).returncode == 0
    fleet = await shown.of()
    assert fleet["holds"] == 6
    assert fleet["tenant_bytes"] == 2 * len(BLOB) + len(b"small")


async def test_a_scrub_and_an_expiry(stored: FolderStore, shown: Shown, tmp_path: Path) -> None:
    """Findings of a scrub are its errors; an expiry shows how many tenants it dropped."""
    done = run("tenants", "expire", "--unseen-for", "30d", "--apply", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    expiry = await shown.of("expiry")
    assert (expiry["found"], expiry["kept"], expiry["freed"], expiry["errors"]) == (2, 2, 0, 0)
    delete_data(stored, Digest.of(BLOB))
    assert run("scrub", data_dir=tmp_path).returncode == 1
    scrub = await shown.of("scrub")
    assert scrub["found"] == 2
    assert scrub["errors"] >= 1
    assert scrub["succeeded_timestamp_seconds"] == 0
    assert scrub["ended_timestamp_seconds"] > 0


async def test_a_shallow_scrub(stored: FolderStore, shown: Shown, tmp_path: Path) -> None:
    """A scrub that reads no data, and finds nothing, takes back no other's findings."""
    FAILED.write(stored, Reporter.SCRUB)
    assert run("scrub", "--shallow", data_dir=tmp_path).returncode == 0
    scrub = await shown.of("scrub")
    assert (scrub["errors"], scrub["succeeded_timestamp_seconds"]) == (FAILED.errors, 0)
    delete_data(stored, Digest.of(BLOB))
    assert run("scrub", "--shallow", data_dir=tmp_path).returncode == 1
    scrub = await shown.of("scrub")
    assert (scrub["errors"], scrub["succeeded_timestamp_seconds"]) == (1, 0)


async def test_a_damaged_report_hides_no_other(stored: FolderStore, shown: Shown) -> None:
    """A report that can't be read isn't shown, and the others are."""
    DONE.write(stored, Reporter.SCRUB)
    stored.put(key_of(Reporter.COLLECTOR), b"broken")
    assert await shown.of("collector") == {}
    assert (await shown.of("scrub"))["found"] == DONE.found
    read = shown.registry.get_sample_value("holdfast_reports_read_timestamp_seconds")
    assert read == NOW
