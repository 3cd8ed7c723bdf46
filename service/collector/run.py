"""What all passes of one run share: the store, the ages, the report, a few threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from holdfast.errors import HoldfastError
from service.collector.ages import Ages
from service.collector.report import Report
from storage.keys import NewName
from storage.port import ObjectStore
from storage.records import Records
from storage.spool import Spools

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Stopped(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """The run was told to stop; what it did stands, and another run goes on from there."""


@dataclass(frozen=True)
class Run:
    """One run. Its passes block, and are called from one thread.

    Attributes:
        store: what is collected.
        records: of the store.
        ages: what is old enough.
        report: what is done, and why not.
        spools: sorted lines on disk.
        new_name: for names that are never given out again.
        new_nonce: for records.
        declared_lifetime: asks the store for the longest life of an ingest, in s.
        pool: for requests at once; None: one after the other.
        abreast: how many requests at once.
        stop: set when the run is to end.
    """

    store: ObjectStore
    records: Records
    ages: Ages
    report: Report
    spools: Spools
    new_name: NewName
    new_nonce: NewName
    declared_lifetime: Callable[[], float]
    pool: ThreadPoolExecutor | None = None
    abreast: int = 1
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def dry(self) -> bool:
        """Whether nothing may be written."""
        return self.report.dry_run

    def watched(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, until the run is told to stop.

        Raises:
            Stopped: it was.
        """
        for item in items:
            if self.stop.is_set():
                raise Stopped("the run was stopped; the next one goes on where it was")
            yield item

    def each(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of `call` for all items, in order, some at a time."""
        if self.pool is None:
            yield from map(call, self.watched(items))
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in self.watched(items):
                waiting.append(self.pool.submit(call, item))
                if len(waiting) >= 2 * self.abreast:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Surrounds a pass: its error is taken down, so that the next one can run."""
        self.report.doing = what
        log.info("collecting", what=what)
        try:
            yield
        except Stopped:
            raise
        except HoldfastError as error:
            log.warning("a pass failed", what=what, reason=str(error))
            self.report.error(what, error)

    def do(self, call: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Calls `call` for all items, some at a time."""
        for _ in self.each(call, items):
            pass
