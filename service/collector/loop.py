"""A collector as a program: it runs once, or in a loop until a signal."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import structlog

from holdfast.clocks import uptime
from holdfast.errors import HoldfastError
from holdfast.service.backends import running_redis, tended_store
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.report import CollectionReport
from holdfast.service.process.runs import traced_runs
from holdfast.service.process.signals import follow_log_level, stop_signal
from holdfast.service.settings import Settings
from holdfast.service.store.run_reports import tell
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.port import ObjectStore
from holdfast.storage.run_reports import Reporter
from holdfast.tasks import begin

log = structlog.get_logger(__name__)

JITTER = 0.25
"""Fraction by which the pause varies at random, so that several collectors spread out."""

Tell = Callable[[CollectionReport], None]


async def collect(
    settings: Settings, orders: CollectorOptions, *, every: float | None, began: Tell, ended: Tell
) -> bool:
    """Collects once, or in a loop.

    Args:
        settings: the settings of the backends, and the ages.
        orders: what to do.
        every: approximate seconds between runs; None: run once.
        began: called with each run's report before it is filled …
        ended: … and afterwards.

    Returns:
        Whether the run did everything without an error; True for a loop that was stopped.

    Raises:
        ConfigurationError: a backend or a setting can't be used, or isn't safe.
        Unavailable: the object store can't be reached at start.
    """
    stop, halt = stop_signal(), threading.Event()
    follow_log_level(settings.log_level if every else "warning")
    with (
        traced_runs(settings, "collector") as runs,
        running_redis(settings) as url,
        tended_store(settings, dry_run=orders.dry_run) as tended,
    ):
        store = runs.seen(tended)
        watch = begin(_pass_on(stop, halt))
        try:
            while True:
                report = CollectionReport(orders.dry_run)
                began(report)
                begun = uptime()
                with runs.run() as found:
                    await _once(settings, store, url, orders=orders, report=report, halt=halt)
                    found.update(report.run_report(uptime() - begun).outcome)
                if not orders.dry_run:
                    done = report.run_report(uptime() - begun)
                    await asyncio.to_thread(
                        tell, store, Reporter.COLLECTOR, done, settings.call_deadline
                    )
                ended(report)
                if every is None:
                    return report.ok
                if await _stopped(stop, every):
                    return True
        finally:
            watch.cancel()


async def _once(
    settings: Settings,
    store: ObjectStore,
    redis_url: str,
    *,
    orders: CollectorOptions,
    report: CollectionReport,
    halt: threading.Event,
) -> None:
    try:
        # This is asked for each run, because a frontend may have raised it.
        longest = await asyncio.to_thread(longest_lifetime, store)
    except HoldfastError as error:
        report.error("asking how long ingests may live", error)
        return
    ages = Ages.of(settings, longest)
    report.ages = ages.as_json()
    async with tools(settings, store, redis_url, ages, stop=halt) as opened:
        await opened.collect(ages, report, orders)
    log.info("collector run finished", ok=report.ok, freed_bytes=report.freed)


async def _pass_on(stop: asyncio.Event, halt: threading.Event) -> None:
    await stop.wait()
    halt.set()


async def _stopped(stop: asyncio.Event, pause: float) -> bool:
    """Waits about `pause` seconds; True as soon as the program is to stop."""
    # This needn't be a secure random number, since it only spreads load.
    wait = pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    try:
        await asyncio.wait_for(stop.wait(), wait)
    except TimeoutError:
        return False
    return True
