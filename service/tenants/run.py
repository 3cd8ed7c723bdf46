"""Puts together the parts of commands on tenants, and runs them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from holdfast.service.backends import running_redis, tended_store
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.ingests import give_up
from holdfast.service.collector.report import CollectionReport
from holdfast.service.process.runs import phase, traced_runs
from holdfast.service.settings import Settings
from holdfast.service.store.run_reports import tell as report_run
from holdfast.service.tenants.expiry import Expiry, ExpiryOutcome, GiveUp, Rules
from holdfast.service.tenants.expiry_tally import ExpiryTally
from holdfast.service.tenants.gone import Gone
from holdfast.service.tenants.listing import Listing, Summary
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.held import FleetHeld
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.run_reports import Reporter
from holdfast.storage.sightings import Sightings


def summaries(settings: Settings, *, sizes: bool) -> Iterator[Summary]:
    """Yields what each tenant holds; it only reads, and needs no Redis.

    Raises:
        ConfigurationError: the store isn't there.
        Unavailable: the store can't be reached.
    """
    with (
        tended_store(settings, dry_run=True) as store,
        ThreadPoolExecutor(settings.threads, "holds") as pool,
    ):
        yield from Listing(store, Sightings(store, new_nonce), pool, sizes=sizes).summaries()


def fleet_held(settings: Settings) -> FleetHeld | None:
    """Returns what all tenants together held when a collection looked; None if there was none.

    Raises:
        ConfigurationError: the store isn't there.
        DataLoss: what it has written is damaged.
        Unavailable: the store can't be reached.
    """
    with tended_store(settings, dry_run=True) as store:
        return FleetHeld.read(store)


async def expire(
    settings: Settings,
    rules: Rules,
    tell: Callable[[ExpiryOutcome], None],
    *,
    apply: bool,
    accept: bool,
) -> None:
    """Looks at all tenants once, and drops those that are due.

    Args:
        settings: the settings of the backends.
        rules: decide which tenants are gone.
        tell: called with each tenant's outcome, as soon as it is known.
        apply: if False, only report what would be done, and write nothing.
        accept: drop all that seem to be gone, however many they are.

    Raises:
        ConfigurationError: a backend or a setting can't be used.
        Unavailable: the store can't be reached.
        Braked: too many tenants seem to be gone, and nothing was done.
    """
    with (
        traced_runs(settings, "expiry") as runs,
        tended_store(settings, dry_run=not apply) as tended,
        runs.run() as found,
    ):
        store = runs.seen(tended)
        if not apply:
            sightings = Sightings(store, new_nonce)
            async for outcome in Expiry(store, sightings, rules, None, accept=accept).look():
                tell(outcome)
            return
        done = ExpiryTally()
        try:
            await _expire(settings, store, rules, done.counting(tell), accept=accept)
            done.finished = True
        finally:
            report = done.run_report()
            found.update(report.outcome)
            await asyncio.to_thread(
                report_run, store, Reporter.EXPIRY, report, settings.call_deadline
            )


async def _expire(
    settings: Settings,
    store: ObjectStore,
    rules: Rules,
    tell: Callable[[ExpiryOutcome], None],
    *,
    accept: bool,
) -> None:
    report, sightings = CollectionReport(dry_run=False), Sightings(store, new_nonce)
    with running_redis(settings) as url:
        async with _giving_up(settings, store, url, report) as give:
            async for outcome in Expiry(store, sightings, rules, give, accept=accept).look():
                tell(outcome)


async def drop(settings: Settings, tenant: str) -> tuple[CollectionReport, bool]:
    """Gives up all that a tenant has.

    Returns:
        What was done, and whether that was all: False if the tenant was seen meanwhile.

    Raises:
        ConfigurationError: a backend or a setting can't be used.
        Unavailable: Redis or the store can't be reached.
    """
    report = CollectionReport(dry_run=False)
    with (
        traced_runs(settings, "tenant-drop") as runs,
        tended_store(settings, dry_run=False) as tended,
        running_redis(settings) as url,
        runs.run() as found,
    ):
        store = runs.seen(tended)
        gone = await asyncio.to_thread(Gone.from_now_on, Sightings(store, new_nonce), tenant)
        async with _giving_up(settings, store, url, report) as give:
            found["finished"] = await give(tenant, gone)
            return report, bool(found["finished"])


@asynccontextmanager
async def _giving_up(
    settings: Settings, store: ObjectStore, redis_url: str, report: CollectionReport
) -> AsyncIterator[GiveUp]:
    """Yields the function that gives up all that a tenant has, as the collector does."""
    ages = Ages.of(settings, await asyncio.to_thread(longest_lifetime, store))
    async with tools(settings, store, redis_url, ages, stop=threading.Event()) as opened:
        with opened.run(ages, report, CollectorOptions()) as run:

            async def give(tenant: str, gone: Gone) -> bool:
                with phase("tenant", tenant=tenant):
                    return await give_up(run, opened.knowledge, tenant, gone)

            yield give
