"""A survey of the whole store, before anything in it is changed.

    doomed data       read from the list of an earlier run
    data              listed: only data older than G is considered
    holds             listed, for the first time
    records           listed, **then** read, unless they are known: the data that they name
                      is protected, and those that no hold names are judged
    markers           listed together with the records

The order matters. If a commit began before data is listed, it has made its record before the
records are read, or is too old to make it. If a hold was made before holds are listed, it is in the
listing when its record is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.collector.brakes import CollectionPlan
from holdfast.service.collector.doomed import Doom, Doomed, Newest
from holdfast.service.collector.holds import ListedHolds, list_holds
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.storage.keys import DATA, collected
from holdfast.storage.spool import Spool, halves, line_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record to condemn, pardon or bury, as it was read; `size` is the blob's, in bytes."""

    key: str
    etag: str
    size: int = 0

    def encode(self) -> bytes:
        """Returns a line that sorts by the key."""
        return line_of(self.key, f"{self.size} {self.etag}")

    @classmethod
    def decode(cls, line: bytes) -> Candidate:
        """Parses a line of `encode`."""
        key, rest = halves(line)
        size, _, etag = rest.partition(" ")
        return cls(key, etag, int(size))


@dataclass
class Survey:
    """What a run has found (lists are on disk), and how much that is.

    Attributes:
        doomed: data that an earlier run has doomed.
        began: the store's time, in s since 1970, before this run read anything else.
        considered: data objects older than G.
        held: the records that holds name.
        marks: marks of interrupted Deletes.
        protected: data that a record names, and why it is protected.
        pardon: condemned records that a hold names: an earlier run didn't see it, or it is new.
        condemn: records to condemn.
        bury: records to bury, if a second listing of holds doesn't name them either.
        tombstones: tombstones that may be removed, by the data that they name.
        given_up: keys of markers to make, for blobs that this run is the first to find unheld.
        outlived: keys of markers to remove.
        due: data to delete, because this run and an earlier one have found it unnamed.
        waiting: data that this run only lists as doomed.
        held_bytes: bytes of the blobs that holds name, each once …
        held_blobs: … and how many these are.
        tenant_bytes: the same bytes, counted for each tenant that holds them.
        strangers: how many objects among the records aren't records, and may name any data.
    """

    doomed: Newest
    began: float
    considered: Spool
    held: ListedHolds
    marks: Spool
    protected: Spool
    pardon: Spool
    condemn: Spool
    bury: Spool
    tombstones: Spool
    given_up: Spool
    outlived: Spool
    due: Spool
    waiting: Spool
    data: int = 0
    data_bytes: int = 0
    digests: int = 0
    records: int = 0
    without_content: int = 0
    unreadable: int = 0
    held_bytes: int = 0
    held_blobs: int = 0
    tenant_bytes: int = 0
    strangers: int = 0
    taken: int = 0
    due_count: int = 0
    due_bytes: int = 0

    @property
    def old_data(self) -> bool:
        """Whether any data is old enough to be deleted."""
        return next(self.considered.sorted(), None) is not None

    @property
    def plan(self) -> CollectionPlan:
        """The figures that brakes check."""
        return CollectionPlan(
            holds=self.held.listed,
            digests=self.digests,
            records=self.records,
            data=self.data,
            data_bytes=self.data_bytes,
            without_content=self.without_content,
            unreadable=self.unreadable,
            taken=self.taken,
            due=self.due_count,
            due_bytes=self.due_bytes,
        )


def begin(run: CollectorRun) -> Survey:
    """Surveys doomed data, data and holds, but not yet the records."""
    new, marks = run.spools.new, run.spools.new()
    doomed = _doomed(run)
    asks = doomed and not run.dry
    began = Doomed(run.store, new).store_time() if asks else run.store.now()
    considered, count, size = _list_data(run)
    survey = Survey(
        doomed=doomed,
        began=began,
        considered=considered,
        held=list_holds(run, marks, count=True),
        marks=marks,
        protected=new(),
        pardon=new(),
        condemn=new(),
        bury=new(),
        tombstones=new(),
        given_up=new(),
        outlived=new(),
        due=new(),
        waiting=new(),
        data=count,
        data_bytes=size,
    )
    survey.digests = sum(1 for _ in survey.held.names.sorted())
    return survey


def _doomed(run: CollectorRun) -> Newest:
    doomed = Doomed(run.store, run.spools.new)
    try:
        newest = doomed.newest(run.ages.landing)
    except (DataLoss, UnsupportedFormat) as error:
        run.report.error("reading what is doomed; its wait begins again", error)
        # This run's list replaces it, and is none if nothing waits: the next run must not meet it.
        return Newest(run.spools.new(), doomed.replaced(run.ages.landing))
    if newest.damaged:
        run.report.error(
            "reading what is doomed; their wait begins again",
            DataLoss(f"{newest.damaged} lines are damaged"),
        )
    return newest


def _list_data(run: CollectorRun) -> tuple[Spool, int, int]:
    considered, count, size = run.spools.new(), 0, 0
    for entry in run.listed(DATA):
        count, size = count + 1, size + entry.size
        run.report.note(CollectedKind.DATA, Fate.SEEN, entry.size)
        if not collected(entry.key):
            run.report.note(CollectedKind.DATA, Fate.STRANGE, entry.size)
        elif run.store.now() - entry.last_modified > run.ages.data:
            considered.add(Doom(entry.key, entry.size, None).encode().encode())
        else:
            run.report.note(CollectedKind.DATA, Fate.YOUNG, entry.size)
    return considered, count, size


def considered(survey: Survey) -> Iterator[Doom]:
    """Yields the data that is older than G, in order of key."""
    for line in survey.considered.sorted():
        yield Doom.decode(line.decode())
