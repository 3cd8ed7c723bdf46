"""A collector: a core and the parts of a run, joined here.

Ingests that were left behind in Redis are ended by the same code as in a frontend.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from holdfast.coordination.stale import StaleIngests
from holdfast.errors import Unavailable
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.brakes import BrakeReason
from holdfast.service.collector.collector import collect_once
from holdfast.service.collector.ingests import Knowledge
from holdfast.service.collector.report import CollectionReport
from holdfast.service.collector.run import CollectorRun
from holdfast.service.core import Core, open_core
from holdfast.service.pairing import pairing_of
from holdfast.service.settings import Settings
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.holds import Holds
from holdfast.storage.keys import uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records, new_nonce
from holdfast.storage.snapshots import Snapshots
from holdfast.storage.spool import LIMIT, Spools


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """What a collector is asked to do.

    Attributes:
        dry_run: only report what would be done.
        tenants_gone: tenants whose holds and ingests are given up.
        spool_dir: folder in which listings are sorted; None: the system's temporary folder.
        spool_limit: lines that each listing keeps in memory.
        accept: brakes that an operator has accepted.
    """

    dry_run: bool = False
    tenants_gone: tuple[str, ...] = ()
    spool_dir: Path | None = None
    spool_limit: int = LIMIT
    accept: frozenset[BrakeReason] = frozenset()


@dataclass(frozen=True)
class Tools:
    """The parts that last from one run to the next."""

    settings: Settings
    store: ObjectStore
    core: Core
    stop: threading.Event
    now_ms: Callable[[], int]

    @property
    def knowledge(self) -> Knowledge:
        """The parts that act on Redis, and on holds, as a frontend would."""
        core = self.core
        return Knowledge(
            stale=StaleIngests(core.redis, core.scripts),
            ingests=core.ingests,
            commits=core.commits,
            catalogue=core.catalogue,
            holds=Holds(self.store, uuid7, new_nonce),
            snapshots=Snapshots(self.store, new_nonce),
            now_ms=self.now_ms,
            growth=core.growth,
        )

    async def collect(self, ages: Ages, report: CollectionReport, orders: CollectorOptions) -> None:
        """Does one run; the report has what it did, and what went wrong.

        Raises:
            ConfigurationError: there is no folder for the listings.
        """
        with (
            Spools(orders.spool_dir, orders.spool_limit) as spools,
            self.run(ages, report, orders, spools) as run,
        ):
            await collect_once(run, self.knowledge, orders.tenants_gone)

    @contextmanager
    def run(
        self,
        ages: Ages,
        report: CollectionReport,
        orders: CollectorOptions,
        spools: Spools | None = None,
    ) -> Iterator[CollectorRun]:
        """Opens what the passes of one run share, and closes it at the end.

        Args:
            ages: of what may be removed.
            report: has what is done.
            orders: what the run is asked to do.
            spools: sort listings; None: what gives up tenants sorts nothing.
        """
        threads = self.settings.threads
        with ExitStack() as stack:
            pool = ThreadPoolExecutor(threads, "collect") if threads > 1 else None
            if pool:
                stack.enter_context(pool)
            yield CollectorRun(
                store=self.store,
                records=Records(self.store),
                ages=ages,
                report=report,
                spools=spools or Spools(),
                name=uuid7(),
                new_name=uuid7,
                new_nonce=new_nonce,
                declared_lifetime=partial(longest_lifetime, self.store),
                pool=pool,
                abreast=threads,
                stop=self.stop,
                accept=orders.accept,
                retain_bytes=self.settings.retain_bytes,
            )


@asynccontextmanager
async def tools(
    settings: Settings,
    store: ObjectStore,
    redis_url: str,
    ages: Ages,
    *,
    stop: threading.Event,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 10**6,
) -> AsyncIterator[Tools]:
    """Opens what a collector needs, and closes it at the end.

    Raises:
        ConfigurationError: the Redis URL is malformed, or the store is used with another Redis.
    """
    # A commit that is carried out here may be as old as any frontend allows.
    allowed = settings.model_copy(update={"ingest_lifetime": ages.ingest_lifetime})
    async with open_core(allowed, store, redis_url) as core:
        if not settings.embedded:
            with suppress(Unavailable):  # the passes that need Redis report it
                await pairing_of(core.store.paired, core.redis, core.scripts, redis_url).check()
        yield Tools(settings, store, core, stop, now_ms)
