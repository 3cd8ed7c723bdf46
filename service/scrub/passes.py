"""One pass over a store: all records in order, then all holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import HoldfastError
from holdfast.service.process.runs import phase
from holdfast.service.scrub.abreast import Abreast, ScrubStopped
from holdfast.service.scrub.brake import MarkBrake
from holdfast.service.scrub.caches import Caches
from holdfast.service.scrub.cursor import Cursor, ScrubPhase, load, remove, save
from holdfast.service.scrub.examination import Examiner
from holdfast.service.scrub.held import HoldsWalk
from holdfast.service.scrub.inspection import Inspector
from holdfast.service.scrub.pace import ScrubRate
from holdfast.service.scrub.report import Counts, ScrubReport
from holdfast.storage.holds import Holds
from holdfast.storage.keys import RECORDS, NewName, record_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records
from holdfast.storage.spool import Spools

SAVE_EVERY: Final = 30.0
"""Most seconds between two saves of the cursor: after a crash, so much is read again."""
SAVE_RECORDS: Final = 1000
"""Most records between two saves of the cursor."""


@dataclass(frozen=True, slots=True)
class ScrubOptions:
    """What a scrub is asked to do.

    Attributes:
        rate: bytes of data per second over all workers; 0: no limit.
        workers: blobs that are read concurrently, each with a block of 4 MiB in memory.
        begin: the first digest; None: continue where the last run stopped.
        shallow: only check that data is there in its full size, without reading it.
        dry_run: write nothing.
        hold_age: seconds for which a hold may have no content: no commit takes longer.
        accept: mark all damage, however much it is.
        spool_dir: folder in which listings are sorted; None: the system's temporary folder.
    """

    rate: float
    workers: int
    hold_age: float
    begin: Digest | None = None
    shallow: bool = False
    dry_run: bool = False
    accept: bool = False
    spool_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """The parts that a scrub works with.

    Attributes:
        store: the store that is scrubbed.
        forget: makes all frontends forget what tenants hold; raises Unavailable.
        clock: monotonic, in s.
        now: returns the time, in s since 1970.
        wait: waits for the given seconds, or less once `stop` is set.
        stop: set when the scrub must end.
        new_name: makes names that are never used again.
        new_nonce: makes nonces for records.
    """

    store: ObjectStore
    forget: Callable[[], None]
    clock: Callable[[], float]
    now: Callable[[], float]
    wait: Callable[[float], object]
    stop: threading.Event
    new_name: NewName
    new_nonce: NewName


class Pass:
    """One pass, from its beginning or from where the last run stopped. Blocking."""

    def __init__(self, orders: ScrubOptions, means: Means) -> None:
        """Reads the cursor.

        Raises:
            HoldfastError: the store fails.
        """
        self._orders = orders
        self._means = means
        self._begun = means.clock()
        cursor = self._resumed()
        self._phase = cursor.phase
        self._after = cursor.after
        self._before = cursor
        self._counted = cursor
        self.report = ScrubReport(
            started_at=cursor.started_at,
            dry_run=orders.dry_run,
            shallow=orders.shallow,
            counts=Counts(**cursor.counts),
            found=dict(cursor.found),
            resumed_after=str(cursor.after or ""),
        )
        self._caches = Caches(means.forget, means.clock, late=cursor.caches_late)
        self._brake = MarkBrake(lambda: self.report.counts.records, cursor.marks, off=orders.accept)
        self._saved_at = means.clock()
        self._done = self.report.counts.records
        self._unsaved = 0

    def _resumed(self) -> Cursor:
        orders = self._orders
        found = None if orders.dry_run else load(self._means.store)
        if found and found.shallow == orders.shallow and not orders.begin:
            return found
        return self._anew(found.marks if found else [], shallow=orders.shallow)

    def _anew(self, marks: list[int], *, shallow: bool = False) -> Cursor:
        """Returns the cursor of a pass that begins, in which earlier passes' marks count."""
        return Cursor(self._means.now(), shallow=shallow, marks=[0] * len(marks))

    def run(self) -> ScrubReport:
        """Runs to the end of the pass, or until it is told to stop.

        Raises:
            ConfigurationError: no file can be created in the folder for sorting.
            HoldfastError: the store fails; the next run continues from there.
        """
        try:
            # A folder that can't be used is found before days of reading, not after them.
            with Spools(self._orders.spool_dir) as spools:
                self._walk(spools)
        except ScrubStopped:
            self.report.stopped = True
            self._leave()
        except HoldfastError:
            with suppress(HoldfastError):
                self._leave()
            raise
        else:
            self._refresh()
            self._end()
        self.report.caches_late = self._caches.late
        self.report.seconds = self._seconds()
        return self.report

    def _walk(self, spools: Spools) -> None:
        orders, means = self._orders, self._means
        abreast = Abreast(orders.workers, means.stop)
        records = Records(means.store, misread=lambda _: self.report.add(misreads=1))
        if self._phase is ScrubPhase.RECORDS:
            with phase("records"):
                self._walk_records(abreast, records)
            self._phase, self._counted = ScrubPhase.HOLDS, self._cursor()
            self._save()
        with phase("holds"):
            HoldsWalk(
                store=means.store,
                records=records,
                holds=Holds(means.store, means.new_name, means.new_nonce),
                report=self.report,
                abreast=abreast,
                spools=spools,
                oldest=orders.hold_age,
            )()

    def _walk_records(self, abreast: Abreast, records: Records) -> None:
        means = self._means

        def between() -> None:
            abreast.check()
            self._caches.refresh_if_due()

        pace = ScrubRate(self._orders.rate, means.clock, means.wait)
        examiner = Examiner(means.store, pace, self.report, between)
        inspect = Inspector(
            records=records,
            examiner=examiner,
            caches=self._caches,
            brake=self._brake,
            report=self.report,
            new_nonce=means.new_nonce,
        )
        for digest in abreast.each(inspect, self._keys()):
            if digest:
                self._after, self._done = digest, self._done + 1
            self._unsaved += 1
            late = means.clock() - self._saved_at >= SAVE_EVERY
            if late or self._unsaved >= SAVE_RECORDS:
                self._save()

    def _keys(self) -> Iterator[str]:
        """Yields the keys of records, from where this run begins."""
        begin, after = self._orders.begin, ""
        if begin:
            after = record_key(begin)[:-1]
        elif self._after:
            after = record_key(self._after)
        for entry in self._means.store.list(RECORDS, after):
            if not begin or entry.key >= record_key(begin):
                yield entry.key

    # -- progress

    def _seconds(self) -> float:
        return self._before.seconds + self._means.clock() - self._begun

    def _cursor(self) -> Cursor:
        report = self.report
        return Cursor(
            started_at=report.started_at,
            after=self._after,
            phase=self._phase,
            shallow=report.shallow,
            seconds=self._seconds(),
            caches_late=self._caches.late,
            # Records beyond `after` are read again; if they counted twice, marks would age by it.
            counts={**asdict(report.counts), "records": self._done},
            found=dict(report.found),
            marks=self._brake.marks,
        )

    def _save(self) -> None:
        if not self._orders.dry_run:
            # The walk over holds starts over in the next run, and so do its counts.
            counted = self._counted if self._phase is ScrubPhase.HOLDS else self._cursor()
            save(self._means.store, counted)
        self._saved_at = self._means.clock()
        self._unsaved = 0

    def _leave(self) -> None:
        """Saves at once, and again after frontends have forgotten, which can take a while."""
        self._save()
        if self._caches.late and not self._orders.dry_run:
            self._refresh()
            self._save()

    def _end(self) -> None:
        """Removes the cursor; if this pass hasn't seen all data, its marks count in the next."""
        orders, store = self._orders, self._means.store
        partial = (orders.begin or orders.shallow) and not orders.accept
        if orders.dry_run:
            return
        if partial and self._brake.marks:
            save(store, self._anew(self._brake.marks))
        else:
            remove(store)

    def _refresh(self) -> None:
        if not self._orders.dry_run:
            self._caches.refresh()
