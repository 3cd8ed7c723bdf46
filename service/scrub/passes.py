"""One pass over a store: its records in order, then its holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import HoldfastError
from holdfast.service.scrub.abreast import Abreast, Stopped
from holdfast.service.scrub.brake import Brake
from holdfast.service.scrub.caches import Caches
from holdfast.service.scrub.cursor import Cursor, Phase, load, remove, save
from holdfast.service.scrub.examination import Examiner
from holdfast.service.scrub.held import HoldsWalk
from holdfast.service.scrub.inspection import Inspector
from holdfast.service.scrub.pace import Pace
from holdfast.service.scrub.report import Counts, Report
from holdfast.storage.holds import Holds
from holdfast.storage.keys import RECORDS, NewName, record_key
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records
from holdfast.storage.spool import Spools

SAVE_EVERY: Final = 30.0
"""Seconds between two saves of the cursor: what a crash makes the next run read again."""
SAVE_RECORDS: Final = 1000
"""Records between two saves of the cursor, where they go by faster."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a scrub is asked for.

    Attributes:
        rate: bytes of data per second over all workers; 0: as fast as it goes.
        workers: blobs that are read at once, a block of 4 MiB each in memory.
        begin: the first digest; None: where the last run stopped.
        shallow: looks whether data is there in its full size, and doesn't read it.
        dry_run: writes nothing.
        hold_age: seconds that a hold may be without content: no commit takes longer.
        accept: marks whatever is damaged, however much it is.
        spool_dir: where listings are sorted; None: where the system has such folders.
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
    """What a scrub works with.

    Attributes:
        store: what is scrubbed.
        forget: makes all frontends forget what is held; raises Unavailable.
        clock: monotonic, in s.
        now: the time, in s since 1970.
        wait: lets so many seconds pass, or fewer once `stop` is set.
        stop: set when the scrub is to end.
        new_name: for names that are never given out again.
        new_nonce: for records.
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

    def __init__(self, orders: Orders, means: Means) -> None:
        """Reads the cursor.

        Raises:
            UnsupportedFormat: it is of a newer version.
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
        self.report = Report(
            started_at=cursor.started_at,
            dry_run=orders.dry_run,
            shallow=orders.shallow,
            counts=Counts(**cursor.counts),
            found=dict(cursor.found),
            resumed_after=str(cursor.after or ""),
        )
        self._caches = Caches(means.forget, means.clock, late=cursor.caches_late)
        self._brake = Brake(lambda: self.report.counts.records, cursor.marks, off=orders.accept)
        self._saved_at = means.clock()
        self._unsaved = 0

    def _resumed(self) -> Cursor:
        orders, fresh = self._orders, Cursor(self._means.now(), shallow=self._orders.shallow)
        if orders.dry_run or orders.begin:
            return fresh
        found = load(self._means.store)
        return found if found and found.shallow == orders.shallow else fresh

    def run(self) -> Report:
        """Goes through to the end, or until it is told to stop.

        Raises:
            HoldfastError: the store fails; the next run goes on from there.
        """
        try:
            self._walk()
        except Stopped:
            self.report.stopped = True
            self._leave()
        except HoldfastError:
            with suppress(HoldfastError):
                self._leave()
            raise
        else:
            self._refresh()
            if not self._orders.dry_run:
                remove(self._means.store)
        self.report.caches_late = self._caches.late
        self.report.seconds = self._seconds()
        return self.report

    def _walk(self) -> None:
        orders, means = self._orders, self._means
        abreast = Abreast(orders.workers, means.stop)
        records = Records(means.store, misread=lambda _: self.report.add(misreads=1))
        if self._phase is Phase.RECORDS:
            self._walk_records(abreast, records)
            self._phase, self._counted = Phase.HOLDS, self._cursor()
            self._save()
        with Spools(orders.spool_dir) as spools:
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

        pace = Pace(self._orders.rate, means.clock, means.wait)
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
            self._after = digest or self._after
            self._unsaved += 1
            late = means.clock() - self._saved_at >= SAVE_EVERY
            if late or self._unsaved >= SAVE_RECORDS:
                self._save()

    def _keys(self) -> Iterator[str]:
        """The keys of records, from where it begins."""
        begin, after = self._orders.begin, ""
        if begin:
            after = record_key(begin)[:-1]
        elif self._after:
            after = record_key(self._after)
        for entry in self._means.store.list(RECORDS, after):
            if not begin or entry.key >= record_key(begin):
                yield entry.key

    # -- how far it is

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
            counts=asdict(report.counts),
            found=dict(report.found),
            marks=self._brake.marks,
        )

    def _save(self) -> None:
        if not self._orders.dry_run:
            # The walk over holds begins anew, and counts anew.
            counted = self._counted if self._phase is Phase.HOLDS else self._cursor()
            save(self._means.store, counted)
        self._saved_at = self._means.clock()
        self._unsaved = 0

    def _leave(self) -> None:
        """Saves at once, and again when the caches are seen to: that can take a while."""
        self._save()
        if self._caches.late and not self._orders.dry_run:
            self._refresh()
            self._save()

    def _refresh(self) -> None:
        if not self._orders.dry_run:
            self._caches.refresh()
