"""Reports of runs, as they are kept in the store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import DataLoss
from holdfast.storage import documents
from holdfast.storage.run_reports import FORMAT, FleetCensus, Reporter, RunReport, key_of
from tests.stores.memory import MemoryStore

CENSUS = FleetCensus(
    at=5.0,
    tenants=2,
    holds=7,
    blobs=3,
    size=100,
    retained=1,
    retained_size=9,
    tenant_size=230,
)
DONE = RunReport(
    seconds=1.5, ok=True, found=10, freed=2, freed_bytes=20, kept=8, errors=0, census=CENSUS
)
FAILED = replace(DONE, ok=False, errors=3, census=None)


def read(store: MemoryStore) -> RunReport:
    """The collector's report."""
    report = RunReport.read(store, Reporter.COLLECTOR)
    assert report is not None
    return report


def test_what_is_written_is_read() -> None:
    """A report says what its run did, and when it ended by the store's clock."""
    store = MemoryStore()
    assert RunReport.read(store, Reporter.SCRUB) is None
    DONE.write(store, Reporter.SCRUB)
    found = RunReport.read(store, Reporter.SCRUB)
    assert found is not None
    assert found.ended_at == found.succeeded_at == found.first_at > 0.0
    assert replace(found, ended_at=0.0, succeeded_at=0.0, first_at=0.0) == DONE
    assert RunReport.read(store, Reporter.COLLECTOR) is None


def test_a_failure_carries_on_what_was_known() -> None:
    """After a run that failed, it is still known when one succeeded, and what it had counted."""
    store = MemoryStore()
    FAILED.write(store, Reporter.COLLECTOR)
    assert read(store).succeeded_at == 0.0
    first = read(store).first_at
    assert first == read(store).ended_at
    DONE.write(store, Reporter.COLLECTOR)
    succeeded = read(store).succeeded_at
    FAILED.write(store, Reporter.COLLECTOR)
    assert read(store).errors == 3
    assert read(store).succeeded_at == succeeded <= read(store).ended_at
    assert read(store).census == CENSUS
    assert read(store).first_at == first


def test_an_earlier_versions_report_is_read() -> None:
    """What it doesn't say isn't made up: its run is the first that is known."""
    store, key = MemoryStore(), key_of(Reporter.COLLECTOR)
    DONE.write(store, Reporter.COLLECTOR)
    document = documents.decode(key, store.get(key).body, FORMAT)
    del document["first_at"], document["census"]["tenant_size"]
    store.put(key, documents.encode(document))
    found = read(store)
    assert found.census == replace(CENSUS, tenant_size=None)
    assert found.first_at == found.ended_at
    FAILED.write(store, Reporter.COLLECTOR)
    assert read(store).first_at == found.ended_at


def test_a_stopped_run_is_no_verdict() -> None:
    """What was found wrong stays until a run has come to its end without finding it again."""
    store, stopped = MemoryStore(), replace(DONE, ok=False, errors=0)
    stopped.write(store, Reporter.COLLECTOR)
    assert read(store).errors == 0
    FAILED.write(store, Reporter.COLLECTOR)
    for _ in range(2):
        stopped.write(store, Reporter.COLLECTOR)
        assert read(store).errors == FAILED.errors
    DONE.write(store, Reporter.COLLECTOR)
    assert read(store).errors == 0


@pytest.mark.parametrize(
    ("sound", "broken"), [(b'"found":10', b'"found":11'), (b'"ok":true', b'"ok":1   ')]
)
def test_a_damaged_report_is_refused_and_replaced(sound: bytes, broken: bytes) -> None:
    """A report whose sum is wrong is never shown, and the next run writes it anew."""
    store, key = MemoryStore(), key_of(Reporter.COLLECTOR)
    DONE.write(store, Reporter.COLLECTOR)
    body = store.get(key).body
    assert sound in body
    store.put(key, body.replace(sound, broken))
    with pytest.raises(DataLoss):
        read(store)
    DONE.write(store, Reporter.COLLECTOR)
    assert read(store).found == 10
