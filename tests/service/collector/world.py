"""A store with blobs, holds and what crashes leave, and runs of the collector over it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from typing import Any

from holdfast.digests import Digest
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.reading import RecordsPass
from holdfast.service.collector.report import CollectedKind, CollectionReport, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Survey, begin
from holdfast.service.collector.sweep import sweep_store
from holdfast.storage.blobs import Blobs, Committed
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.held import KEY as HELD
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import (
    COLLECTOR,
    DATA,
    HOLDS,
    RECORDS,
    RETAINED,
    TAILS,
    TENANTS,
    data_key,
    record_digest,
    uuid7,
)
from holdfast.storage.own_data import Lifetime, OwnData, Sight
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Record, Records, State, block_count, new_nonce
from holdfast.storage.spool import Spools
from holdfast.values import Info
from tests.stores.counting import CountingStore
from tests.stores.memory import SHORT_PAGE, MemoryStore, SteppingStore
from tests.stores.wrapped import Wrapped

WEEK = 7 * 24 * 3600.0
OLD = 10 * 24 * 3600.0
"""Seconds: older than every limit in these tests."""
AGES = Ages(
    retain=0.0,
    data=48 * 3600.0,
    read_grace=3600.0,
    ingest_lifetime=24 * 3600.0,
    doom=-1.0,
    condemned=0.0,
)
"""One run condemns and buries, and the next one deletes what the one before has doomed: a second
less than none, since some stamps of a store are of whole seconds, and others are finer."""
EAGER = replace(AGES, read_grace=-1.0)
"""The data of a new tombstone goes at once."""
MINDFUL = replace(EAGER, retain=WEEK)
"""So does what has been given up for a week."""
APART = replace(AGES, doom=24 * 3600.0, condemned=3600.0)
"""As by default: it takes two runs to bury, and two more a day apart to delete."""


class Killed(BaseException):
    """The process died: no code of it runs any more."""


class Later(Wrapped):
    """A store whose clock is ahead, so that all that is in it is old."""

    def __init__(self, inner: ObjectStore, ahead: float = OLD) -> None:
        super().__init__(inner)
        self.ahead = ahead

    def now(self) -> float:
        """The store's clock, and what it is ahead."""
        return self.inner.now() + self.ahead


@dataclass
class World:
    """One store, seen by tenants and by collectors.

    `store` counts, and its hooks see every request of whoever uses it. It is what the world
    was given, or lies before it.
    """

    given: InitVar[ObjectStore]
    ages: Ages = AGES
    store: CountingStore = field(init=False)
    records: Records = field(init=False)
    holds: Holds = field(init=False)
    blobs: Blobs = field(init=False)

    def __post_init__(self, given: ObjectStore) -> None:
        self.store = given if isinstance(given, CountingStore) else CountingStore(given)
        self.records = Records(self.store)
        self.holds = Holds(self.store, uuid7, new_nonce)
        self.blobs = Blobs(self.store, self.records, self.holds, new_nonce, lambda: 0.0)

    def beside(self) -> World:
        """The same store, seen by somebody whom no hook sees."""
        return World(self.store.inner, self.ages)

    @property
    def memory(self) -> MemoryStore:
        """The store in memory, behind what counts."""
        inner = self.store.inner
        assert isinstance(inner, MemoryStore)
        return inner

    # -- what tenants do

    def put_data(self, body: bytes) -> Record:
        """Stores bytes, and says what record would name them."""
        key = data_key(uuid7())
        self.store.put(key, body)
        return Record(
            digest=Digest.of(body),
            state=State.LIVE,
            size=len(body),
            created_at_ns=time.time_ns(),
            data_key=key,
            block_sums=bytes(4 * block_count(len(body))),
            nonce=new_nonce(),
        )

    def new_hold(self, record: Record) -> Hold:
        """A hold of what a record is of."""
        return self.blobs.new_hold(record.digest, record.size, time.time_ns(), {})

    def publish(self, tenant: str, record: Record, hold_key: str) -> Committed:
        """The second half of a commit."""
        own = OwnData(Lifetime(self.store.now(), self.ages.ingest_lifetime), Sight(0.0))
        return self.blobs.publish(tenant, record, own, self.new_hold(record), hold_key)

    def commit(self, tenant: str, body: bytes) -> Digest:
        """A whole commit."""
        record = self.put_data(body)
        self.publish(tenant, record, self.blobs.make_hold(tenant, self.new_hold(record)))
        return record.digest

    def adopt(self, tenant: str, digest: Digest) -> Info | None:
        """Takes what the fleet has."""
        found = self.blobs.adopt(tenant, digest, time.time_ns(), {})
        return found[0] if found else None

    def read(self, digest: Digest) -> bytes | None:
        """The bytes of a digest, or None if they aren't to be had."""
        seen = self.records.read(digest)
        if seen is None or not seen.record.readable:
            return None
        return bytes(self.store.get(seen.record.data_key).body)

    def turn(self, digest: Digest, state: State) -> None:
        """Gives a record another state."""
        seen = self.records.read(digest)
        assert seen
        self.records.write(seen.record.turned(state, new_nonce()), seen)

    def state(self, digest: Digest) -> State | None:
        """The state of a digest's record."""
        seen = self.records.read(digest)
        return seen.record.state if seen else None

    def data_of(self, digest: Digest) -> str:
        """The data key that a record names."""
        seen = self.records.read(digest)
        assert seen
        return seen.record.data_key

    # -- what is in the store

    def keys(self, prefix: str = "") -> list[str]:
        """All keys below a prefix; sightings, and what collectors leave, only if asked for."""
        found = [entry.key for entry in self.store.list(prefix)]
        return [key for key in found if prefix or not key.startswith((TENANTS, COLLECTOR, HELD))]

    def tell(self) -> dict[str, str]:
        """All that is in the store: records by their state, the rest by what it is of."""
        told = {}
        for key in self.keys():
            if key.startswith(RECORDS):
                seen = self.records.read(record_digest(key))
                assert seen
                told[key] = f"{seen.record.state} {seen.record.size}"
            elif key.startswith((HOLDS, TAILS, DATA, RETAINED)):
                told[key] = "there"
        told.update({upload.key: "upload" for upload in self.store.list_uploads("")})
        return told

    def grow_old(self, *prefixes: str, seconds: float = OLD) -> None:
        """Makes all that is in a store in memory, or below some prefixes, `seconds` older."""
        self.memory.grow_old(prefixes or ("",), seconds)

    # -- what collectors do

    @contextmanager
    def a_run(
        self, *, dry: bool = False, threads: int = 1, **changes: Any
    ) -> Iterator[CollectorRun]:
        """A run of the collector, not begun yet."""
        with Spools(limit=changes.pop("limit", 1000)) as spools:
            options: dict[str, Any] = {
                "store": self.store,
                "records": self.records,
                "ages": self.ages,
                "report": CollectionReport(dry),
                "spools": spools,
                "name": uuid7(),
                "new_name": uuid7,
                "new_nonce": new_nonce,
                "declared_lifetime": partial(longest_lifetime, self.store),
                "abreast": threads,
            }
            yield CollectorRun(**{**options, **changes})

    def collect(self, **changes: Any) -> CollectionReport:
        """A whole run over the store."""
        with self.a_run(**changes) as run:
            sweep_store(run)
        return run.report

    def collect_twice(self, **changes: Any) -> CollectionReport:
        """Two runs, of which the second may delete what both find unnamed; its report."""
        self.collect(**changes)
        return self.collect(**changes)


def marker(digest: Digest, size: int, suffix: str = "") -> str:
    """The key of a marker of retention."""
    return f"{RETAINED}{digest.algorithm}/{digest.hex}/{size}{suffix}"


def looked(run: CollectorRun) -> Survey:
    """What a run knows before it does anything."""
    survey = begin(run)
    RecordsPass(run, survey)()
    return survey


def counts(report: CollectionReport, kind: CollectedKind) -> dict[str, int]:
    """What a report says of a kind, but what it has only seen."""
    return {
        fate.value: tally.count
        for found, fate, tally in report.rows()
        if found is kind and fate is not Fate.SEEN
    }


def memory_world(
    store: MemoryStore | None = None, ages: Ages = AGES, page: int = SHORT_PAGE
) -> World:
    """A world in memory, whose listings show so many entries a page."""
    return World(SteppingStore(store or MemoryStore(), page), ages)
