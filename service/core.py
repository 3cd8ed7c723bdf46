"""The core: the parts that every program needs which changes a fleet's content, joined here.

A frontend is a core with sessions, readers and listeners. A collector, or a command that gives up
a tenant, is a core with passes. The core opens nothing but connections to Redis.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from holdfast.backend import Backend
from holdfast.clocks import uptime
from holdfast.coordination.arrivals import Arrivals
from holdfast.coordination.client import Client
from holdfast.coordination.connection import NAME, close_client, open_client
from holdfast.coordination.growth import Growth
from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.ledger import Ledger
from holdfast.coordination.scripts import Scripts
from holdfast.service.holdings.absences import Absences
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.holdings.charges import Charges
from holdfast.service.holdings.compaction import Compactions
from holdfast.service.holdings.counts import HoldCounts
from holdfast.service.holdings.fleet_bound import FleetBound
from holdfast.service.holdings.quota_file import quotas_in_force
from holdfast.service.holdings.quotas import Quotas
from holdfast.service.holdings.snapshots import SnapshotKeeper
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.completion import Completion
from holdfast.service.ingest.discards import Discards
from holdfast.service.ingest.turns import Turns
from holdfast.service.process.background import Background
from holdfast.service.process.frontend_metrics import FrontendMetrics
from holdfast.service.process.outages import log_change
from holdfast.service.process.workers import Workers
from holdfast.service.settings import Settings
from holdfast.service.store.access import StoreAccess, access
from holdfast.service.store.compaction import AsyncCompactions
from holdfast.service.store.upload_slots import UploadSlots
from holdfast.storage.damage import KnownDamage
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce

HASH_THREADS: Final = min(4, max(2, os.cpu_count() or 1))
"""More threads would wait for bytes: one interpreter receives less than two threads can hash."""
THREADS_GRACE: Final = 5.0
"""Seconds that threads have to finish when everything else has ended."""


@dataclass(frozen=True, slots=True)
class Core:
    """The parts that programs share; all of them end with the core.

    Attributes:
        store: has the content.
        damage: damage that readers found, and that no cache may hide.
        redis: connections for everything but leases.
        backend: whether Redis answers.
        scripts: the scripts in Redis.
        hold_cache: what Redis remembers of holds.
        ingests: the ingests in Redis.
        catalogue: what tenants hold.
        quotas: what tenants may use at most.
        growth: counts what commits add to the fleet.
        fleet_bound: what all tenants together may hold at most.
        completion: makes the bytes of commits complete.
        commits: carries out commits, and those that others have frozen.
        discards: drops what ingests leave in the store.
        snapshots: writes snapshots of what tenants hold, in the background.
        upload_slots: bounds the uploads under way.
        workers: the threads for blocking calls.
        background: the tasks that outlive their requests.
        metrics: the figures of this process.
    """

    store: StoreAccess
    damage: KnownDamage
    redis: Client
    backend: Backend
    scripts: Scripts
    hold_cache: HoldCache
    ingests: Ingests
    catalogue: Catalogue
    quotas: Quotas
    growth: Growth
    fleet_bound: FleetBound
    completion: Completion
    commits: Commits
    discards: Discards
    snapshots: SnapshotKeeper
    upload_slots: UploadSlots
    workers: Workers
    background: Background
    metrics: FrontendMetrics


def owner() -> str:
    """Returns this process's name for others: host and process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


@asynccontextmanager
async def open_core(settings: Settings, store: ObjectStore, redis_url: str) -> AsyncIterator[Core]:
    """Puts a core together on a store and a Redis, and closes it at the end.

    Leaving the `with` waits for background work, for `SUSPEND_GRACE` at most.

    Raises:
        ConfigurationError: the Redis URL is malformed, or the file of QUOTAS can't be used.
    """
    async with AsyncExitStack() as stack:
        backend = Backend("Redis", uptime, log_change)
        name = f"{NAME}/{owner()}"
        redis = open_client(redis_url, name=name, retried=backend.request_counts.retried)
        stack.push_async_callback(close_client, redis)
        workers = Workers(
            settings.threads, HASH_THREADS, settings.call_deadline, switches=store.switches
        )
        stack.push_async_callback(workers.close, THREADS_GRACE)
        scripts = Scripts(redis, backend)
        hold_cache = HoldCache(scripts, lambda: secrets.token_hex(8))
        stack.push_async_callback(hold_cache.close)
        background, metrics = Background(), FrontendMetrics()
        stack.push_async_callback(background.drain, settings.suspend_grace)
        damage, slots = KnownDamage(uptime), UploadSlots(settings.uploads, store.throttled)
        steps = AsyncCompactions(store, workers, new_nonce)
        asked = access(
            store,
            workers,
            slots,
            damage,
            metrics,
            list_budget=settings.list_budget,
            crowded=Compactions(steps, hold_cache, background).crowded,
        )
        snapshots = SnapshotKeeper(asked.snapshots, asked.holds, background, uptime)
        stack.push_async_callback(snapshots.close)
        absences = Absences(Arrivals(redis, partial(scripts.recorded, "hold")), uptime)
        ledger, quotas = Ledger(scripts), quotas_in_force(settings)
        counts = HoldCounts(ledger, asked.hold_sizes, background)
        growth = Growth(scripts, new_nonce(), new_nonce)
        reached = metrics.quota_reached
        fleet_bound = FleetBound(quotas, growth, asked.fleet_held, reached, uptime)
        charges = Charges(ledger, quotas, counts, fleet_bound, reached)
        catalogue = Catalogue(
            blobs=asked.blobs,
            holds=asked.holds,
            damage=damage,
            cache=hold_cache,
            absences=absences,
            charges=charges,
            shared=settings.sharing == "shared",
            now_ns=time.time_ns,
            clock=uptime,
            reading=snapshots.reading,
        )
        ingests = Ingests(redis, scripts, owner())
        discards = Discards(asked.requests, background)
        completion = Completion(asked.requests, asked.sender, uptime, settings.ingest_lifetime)
        commits = Commits(
            records=asked.records,
            blobs=asked.blobs,
            ingests=ingests,
            absences=absences,
            charges=charges,
            turns=Turns(ingests, catalogue.held, uptime),
            added=fleet_bound.added,
            completion=completion,
            discards=discards,
        )
        yield Core(
            store=asked,
            damage=damage,
            redis=redis,
            backend=backend,
            scripts=scripts,
            hold_cache=hold_cache,
            ingests=ingests,
            catalogue=catalogue,
            quotas=quotas,
            growth=growth,
            fleet_bound=fleet_bound,
            completion=completion,
            commits=commits,
            discards=discards,
            snapshots=snapshots,
            upload_slots=slots,
            workers=workers,
            background=background,
            metrics=metrics,
        )
