"""Passes over a whole fleet's store, counted, timed, and their memory looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.capacity import formulas
from bench.capacity.counted import CountedStore
from bench.capacity.fleet import Fleet, FleetStore
from bench.capacity.requests import Requests
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.brakes import ACCEPTABLE
from holdfast.service.collector.report import CollectionReport
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.sweep import sweep_store
from holdfast.service.scrub.passes import Means, Pass, ScrubOptions
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.holds import Holds, merged
from holdfast.storage.kept_holds import KeptHolds
from holdfast.storage.keys import DATA, uuid7
from holdfast.storage.records import Records, new_nonce
from holdfast.storage.spool import Spools

DAY: Final = 24 * 3600.0
WEEK: Final = 7 * DAY
AGES: Final = Ages(retain=WEEK, data=2 * DAY, read_grace=3600.0, ingest_lifetime=DAY)
RUNS: Final = 6
"""Runs until what was retained for a week is gone: condemned, buried, its data doomed, deleted, and
its tombstone removed."""
KEPT: Final = 8 * 2**20
"""Bytes of holds that a frontend keeps, enough for one tenant."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What one pass took.

    Attributes:
        name: of the pass.
        counted: what it asked of the store.
        expected: what the formula says.
        received: bytes of objects that it read, without listings.
        seconds: that it took, with a store that answers at once.
        cpu: seconds of CPU that it took.
        grown: bytes by which this process grew at most.
    """

    name: str
    counted: Requests
    expected: Requests
    received: int
    seconds: float
    cpu: float
    grown: int

    @property
    def as_expected(self) -> bool:
        """Whether the formula holds."""
        return _some(self.counted) == _some(self.expected)


def passes(fleet: Fleet) -> list[Passed]:
    """Every pass over a fleet's store."""
    store, size = FleetStore(fleet), fleet.size
    kept = KeptHolds(KEPT)
    tenant_holds = fleet.holds

    def listing() -> None:
        holds = Holds(store, uuid7, new_nonce, kept)
        listed = [merged(holds.load_listed(group)) for group in holds.groups(store.tenant(0))]
        assert len(listed) == tenant_holds

    rehearsed = formulas.rehearsal(size)
    return [
        timed("List, first", store, listing, formulas.listing(tenant_holds, tenant_holds)),
        timed("List, again", store, listing, formulas.listing(tenant_holds, 0)),
        timed("gc --dry-run", store, lambda: collect(store, dry=True), rehearsed),
        timed("scrub --shallow", store, lambda: scrub(store, shallow=True), formulas.look(size)),
        timed("scrub", store, lambda: scrub(store, shallow=False), formulas.scrub(size)),
        timed("gc, first", store, lambda: collect(store), formulas.first_collection(size)),
        _settled(store),
    ]


def _settled(store: FleetStore) -> Passed:
    """A collection of what is left when all that nobody holds has gone."""
    store.time += WEEK
    for _ in range(RUNS):
        store.time += DAY
        collect(store)
    whole = store.fleet.size
    left = replace(
        whole,
        records=whole.records - whole.unheld,
        unheld=0,
        objects=sum(1 for _ in store.list(DATA)),
    )
    store.time += DAY
    return timed("gc, unchanged", store, lambda: collect(store), formulas.unchanged(left))


def timed(name: str, store: CountedStore, work: Callable[[], object], expected: Requests) -> Passed:
    """Counts, times and weighs one pass over a store."""
    store.start_over()
    before, begun = _memory("VmRSS", reset=True), time.monotonic()
    used = time.process_time()
    work()
    return Passed(
        name=name,
        counted=Requests(dict(store.asked)),
        expected=expected,
        received=store.received,
        seconds=time.monotonic() - begun,
        cpu=time.process_time() - used,
        grown=max(0, _memory("VmHWM") - before),
    )


def collect(store: CountedStore, *, dry: bool = False, retain_bytes: int = 0) -> CollectionReport:
    """A run of the collector over the store; Redis isn't part of it.

    Raises:
        AssertionError: something went wrong.
    """
    with Spools() as spools:
        run = CollectorRun(
            store=store,
            records=Records(store),
            ages=AGES,
            report=CollectionReport(dry),
            spools=spools,
            name=uuid7(),
            new_name=uuid7,
            new_nonce=new_nonce,
            declared_lifetime=lambda: longest_lifetime(store),
            accept=ACCEPTABLE,
            retain_bytes=retain_bytes,
        )
        sweep_store(run)
    assert not run.report.errors, run.report.errors
    return run.report


def scrub(store: FleetStore, *, shallow: bool) -> None:
    """A scrub of the store, on a clock that stands still.

    Raises:
        AssertionError: it found something.
    """
    means = Means(
        store=store,
        forget=lambda: None,
        clock=lambda: 0.0,
        now=lambda: 0.0,
        wait=lambda _: None,
        stop=threading.Event(),
        new_name=uuid7,
        new_nonce=new_nonce,
    )
    report = Pass(ScrubOptions(rate=0, workers=1, hold_age=DAY, shallow=shallow), means).run()
    assert report.well, report


def _some(requests: Requests) -> dict[str, float]:
    return {kind: number for kind, number in requests.s3.items() if number}


def _memory(field: str, *, reset: bool = False) -> int:
    """Bytes of this process: VmRSS now, or VmHWM, the most since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
