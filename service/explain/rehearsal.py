"""What the collector's next run would do with one blob, and why: its own passes say so.

A run is rehearsed on a store that has nothing else, with the collector's ages. All that a run
decides of one record by itself is the same there; what it decides by comparing all blobs (what fits
into RETAIN_BYTES, most brakes) isn't, and is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from holdfast.moments import moment
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.brakes import BrakeLimits
from holdfast.service.collector.report import CollectedKind, CollectionReport, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.sweep import sweep_store
from holdfast.service.explain.facts import VerdictFacts
from holdfast.service.explain.narrowed import NarrowedStore
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.keys import uuid7
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import Records, new_nonce
from holdfast.storage.spool import Spools

Sentences = Mapping[tuple[CollectedKind, Fate], str]
HOUR: Final = 3600.0
ALONE: Final = BrakeLimits(few_bytes=2**63)
"""One blob is all of this store, and removing all of it brakes nothing, however large it is."""
RECORDS: Final = CollectedKind.RECORDS
DATA: Final = CollectedKind.DATA
MARKERS: Final = CollectedKind.MARKERS
HOLDS: Final = CollectedKind.HOLDS
SAYS: Final[Sentences] = {
    (
        HOLDS,
        Fate.MARKED,
    ): "a Delete of a hold is under way, or broke off; its mark counts as a hold",
    (HOLDS, Fate.YOUNG): "would leave the mark of a Delete alone, which is younger than {landing}",
    (HOLDS, Fate.WITHOUT_CONTENT): "would leave holds alone that have no content",
    (HOLDS, Fate.UNMARKED): "would remove the mark that a Delete has left",
    (HOLDS, Fate.TAKEN_BACK): "would take back a Delete that broke off: its tenant gets a new hold",
    (RECORDS, Fate.HELD): "would keep the record: somebody holds it",
    (RECORDS, Fate.RETAINED): "would retain the blob, which nobody holds, until {until}",
    (RECORDS, Fate.EVICTED): "the blob is larger than RETAIN_BYTES",
    (RECORDS, Fate.CONDEMNED): "would condemn the record: nobody holds it, and it isn't retained "
    "any longer; another run buries it",
    (RECORDS, Fate.YOUNG): "would leave the record alone: it was condemned less than {condemned} "
    "ago",
    (RECORDS, Fate.PARDONED): "would make the condemned record live again: somebody holds it",
    (RECORDS, Fate.BURIED): "would make the record a tombstone: nobody holds it, which an earlier "
    "run has found too",
    (RECORDS, Fate.TOMBSTONE): "would keep the tombstone, or remove it when its data is gone and "
    "it is older than {data}",
    (RECORDS, Fate.REMOVED): "would remove the tombstone, if the store deletes conditionally",
    (RECORDS, Fate.CORRUPT): "the record is corrupt: its bytes failed their check twice",
    (RECORDS, Fate.UNREADABLE): "would delete no data at all: this record can't be read by this "
    "version, and may name any",
    (RECORDS, Fate.RACED): "somebody changes the record just now",
    (DATA, Fate.YOUNG): "would keep the data: it is younger than {data}",
    (DATA, Fate.NAMED): "would keep the data: the record names it",
    (DATA, Fate.READ_GRACE): "would keep the data: the tombstone is younger than {read_grace}, and "
    "readers may still need it",
    (DATA, Fate.UNSURE): "would keep the data: a record can't be read that may name it",
    (DATA, Fate.DOOMED): "would list the data as doomed: no record names it; another run deletes "
    "it, at least {doom} later",
    (DATA, Fate.DELETED): "would delete the data: two runs have found that no record names it",
    (MARKERS, Fate.MADE): "would make a marker, with which its time without a hold begins",
    (MARKERS, Fate.OUTLIVED): "would remove markers of retention that are of no use any more",
}
"""What is said of a kind and its fate; other fates (what was only seen) say nothing."""


class BlobRehearsal:
    """Rehearses runs over single blobs. Blocking."""

    def __init__(self, store: ObjectStore, ages: Ages, spools: Spools, retain_bytes: int) -> None:
        """Makes no requests yet.

        Args:
            store: the store.
            ages: of the collector.
            spools: sort what a run lists.
            retain_bytes: most bytes that are retained; 0: any number.
        """
        self._store = store
        self._ages = ages
        self._spools = spools
        self._retain_bytes = retain_bytes

    def of(self, entries: Iterable[Entry]) -> tuple[VerdictFacts, ...]:
        """Returns what a run would do now with a blob of which there are these objects.

        Raises:
            Unavailable: the store can't be reached.
        """
        report = CollectionReport(dry_run=True)
        store = NarrowedStore(self._store, entries)
        sweep_store(
            CollectorRun(
                store=store,
                records=Records(store),
                ages=self._ages,
                report=report,
                spools=self._spools,
                name=uuid7(),
                new_name=uuid7,
                new_nonce=new_nonce,
                declared_lifetime=partial(longest_lifetime, store),
                retain_bytes=self._retain_bytes,
                limits=ALONE,
            )
        )
        return tuple(self._said(report))

    def _said(self, report: CollectionReport) -> list[VerdictFacts]:
        ages = self._ages
        words = {
            name: _time(seconds) for name, seconds in ages.as_json().items() if name != "retain"
        }
        since = report.retained_since
        words["until"] = "" if since is None else moment(since + ages.retain)
        found = [
            VerdictFacts(kind.value, fate.value, SAYS[kind, fate].format(**words))
            for kind, fate, _ in report.rows()
            if (kind, fate) in SAYS
        ]
        stopped = [
            VerdictFacts("brake", one.brake.value, f"would stop before it changes anything: {one}")
            for one in report.brakes
        ]
        failed = [VerdictFacts("error", "failed", said) for said in report.errors]
        if self._retain_bytes and report.count(RECORDS, Fate.RETAINED):
            bound = "unless blobs that were given up later fill RETAIN_BYTES"
            found.append(VerdictFacts("records", "bounded", bound))
        return [*stopped, *found, *(one for one in failed if not report.brakes)]


def _time(seconds: float) -> str:
    if seconds >= HOUR:
        return f"{seconds / HOUR:g} h"
    return f"{seconds / 60:g} min"
