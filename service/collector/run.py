"""The parts that all passes of one run share: the store, the ages, the report, a few threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from holdfast.coordination.growth import GrowthMark
from holdfast.errors import HoldfastError, because
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.brakes import (
    ACCEPTABLE,
    BrakeLimits,
    BrakeReason,
    CollectionBraked,
    Tripped,
)
from holdfast.service.collector.report import CollectionReport
from holdfast.service.process.runs import phase
from holdfast.storage.keys import NewName
from holdfast.storage.port import Entry, ObjectStore
from holdfast.storage.records import Records
from holdfast.storage.spool import Spools

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class CollectionStopped(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """The run was told to stop; what it has done stays done, and the next run continues."""


@dataclass(frozen=True)
class CollectorRun:
    """One run. Its passes block, and are called from one thread.

    Attributes:
        store: the store that is collected.
        records: the records of the store.
        ages: how old things must be.
        report: receives what is done and what is kept.
        spools: make sorted files of lines on disk.
        name: this run's name, which no other run has.
        new_name: makes names that are never used again.
        new_nonce: makes nonces for records.
        declared_lifetime: asks the store for the longest life of an ingest, in s.
        pool: makes concurrent requests; None: requests are made one after the other.
        abreast: how many requests are made concurrently.
        stop: set when the run must end.
        accept: brakes that an operator has accepted.
        mark: how much the fleet's growth had come to before this run looked; None: that isn't
            known, or isn't needed.
        retain_bytes: most bytes of blobs that are retained without a hold; 0: any number.
        limits: the limits of the brakes.
    """

    store: ObjectStore
    records: Records
    ages: Ages
    report: CollectionReport
    spools: Spools
    name: str
    new_name: NewName
    new_nonce: NewName
    declared_lifetime: Callable[[], float]
    pool: ThreadPoolExecutor | None = None
    abreast: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    accept: frozenset[BrakeReason] = frozenset()
    mark: GrowthMark | None = None
    retain_bytes: int = 0
    limits: BrakeLimits = BrakeLimits()  # noqa: RUF009 -- frozen

    @property
    def dry(self) -> bool:
        """Whether nothing may be written."""
        return self.report.dry_run

    def watched(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields the items, until the run is told to stop.

        Raises:
            Stopped: the run was told to stop.
        """
        for item in items:
            if self.stop.is_set():
                raise CollectionStopped(
                    "the run was stopped; the next run continues where it stopped"
                )
            yield item

    def listed(self, prefix: str) -> Iterator[Entry]:
        """Yields the entries below a prefix, which must be in order, because joins depend on it.

        Raises:
            Stopped: the run was told to stop.
            Braked: the listing is out of order.
        """
        last = ""
        for entry in self.watched(self.store.list(prefix)):
            if entry.key <= last or not entry.key.startswith(prefix):
                found = f"the listing of {prefix} names {entry.key[:200]} after {last[:200]}"
                self.report.trip(Tripped(BrakeReason.ORDER, found))
                raise CollectionBraked(found)
            last = entry.key
            yield entry

    def stop_for(self, tripped: Iterable[Tripped]) -> None:
        """Ends the run unless all of these brakes were accepted; a rehearsal always continues.

        Raises:
            Braked: a brake wasn't accepted.
        """
        for one in list(tripped):
            accepted = one.brake in self.accept & ACCEPTABLE
            self.report.trip(replace(one, accepted=accepted))
            if not accepted:
                log.warning("collector brake tripped", brake=one.brake.value, found=one.found)
        if self.report.braked and not self.dry:
            raise CollectionBraked("the run has stopped before it changed anything")

    def each(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields the results of `call` for all items, in order; some calls run concurrently."""
        if self.pool is None:
            yield from map(call, self.watched(items))
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in self.watched(items):
                waiting.append(self.pool.submit(copy_context().run, call, item))
                if len(waiting) >= 2 * self.abreast:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    @contextmanager
    def guarded(self, what: str, phase_name: str = "") -> Iterator[None]:
        """Surrounds a pass, and records its error, so that the next pass can run.

        Args:
            what: the pass, for people.
            phase_name: as traces call it, where `what` names a tenant: there must be few names.
        """
        self.report.doing = what
        log.info("collector pass started", doing=what)
        try:
            with phase(phase_name or what):
                yield
        except (CollectionStopped, CollectionBraked):
            raise
        except HoldfastError as error:
            log.warning("collector pass failed", doing=what, reason=because(error))
            self.report.error(what, error)

    def do(self, call: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Calls `call` for all items; some calls run concurrently."""
        for _ in self.each(call, items):
            pass
