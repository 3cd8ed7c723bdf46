"""The reports of programs that nobody scrapes: written by them, and shown by frontends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from holdfast.deadlines import within
from holdfast.errors import DataLoss, HoldfastError, UnsupportedFormat, because
from holdfast.service.process.report_figures import ReportFigures
from holdfast.service.process.workers import Workers
from holdfast.storage.port import ObjectStore
from holdfast.storage.run_reports import Reporter, RunReport

log = structlog.get_logger(__name__)

PERIOD: Final = 60.0
"""Seconds between two readings, more or less: each costs a frontend three small GETs."""
JITTER: Final = 0.25
"""Fraction by which the pause varies at random, so that a fleet's frontends spread out."""


class ReportWatch:
    """Reads the reports from time to time, and shows them."""

    def __init__(
        self,
        store: ObjectStore,
        workers: Workers,
        figures: ReportFigures,
        now: Callable[[], float],
    ) -> None:
        """Reads nothing yet.

        Args:
            store: has the reports.
            workers: run the calls to it.
            figures: shows them.
            now: returns the time, in s since 1970.
        """
        self._store = store
        self._workers = workers
        self._figures = figures
        self._now = now

    async def keep(self) -> None:
        """Reads until it is cancelled; the first time after a pause, for a start has no time."""
        while True:
            # This needn't be a secure random number, since it only spreads load.
            await asyncio.sleep(PERIOD * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311
            await self.look()

    async def look(self) -> None:
        """Reads all reports once. What can't be read now stays as it was shown last."""
        try:
            found = await self._workers.store(self._read)
        except HoldfastError as error:
            log.debug("run reports not read; they will be read again", reason=because(error))
            return
        self._figures.show(found, self._now())

    def _read(self) -> Mapping[Reporter, RunReport]:
        found = {}
        for reporter in Reporter:
            # One that is damaged, or newer, doesn't hide the others.
            with suppress(DataLoss, UnsupportedFormat):
                report = RunReport.read(self._store, reporter)
                if report:
                    found[reporter] = report
        return found


def tell(store: ObjectStore, reporter: Reporter, report: RunReport, patience: float) -> None:
    """Writes a run's report, within `patience` seconds; if it can't be written, the log says so."""
    try:
        with within(patience):
            report.write(store, reporter)
    except HoldfastError as error:
        log.warning("run report not written", program=reporter.value, reason=because(error))
