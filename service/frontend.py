"""The composition root: everything of one frontend is made and joined here."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from coordination.arrivals import Arrivals
from coordination.connection import Client, close_client, open_client
from coordination.hold_cache import HoldCache
from coordination.ingests import Ingests
from coordination.leases import MARGIN, Leases
from coordination.scripts import Scripts
from holdfast.backend import Backend
from holdfast.clocks import uptime
from holdfast.errors import DataLoss
from service.absences import Absences
from service.backends import tell
from service.block_cache import BlockCache
from service.budget import BufferBudget
from service.catalogue import Catalogue
from service.commit import Commits
from service.compaction import Compactions
from service.content import Frontend
from service.disk_cache import disk_cache
from service.intake import SIZE, Intake
from service.metrics import Metrics
from service.overload import Most, Overload
from service.presence import Presence
from service.quarantine import Quarantine
from service.reader import Reader, RecordCache
from service.sessions import Sessions
from service.settings import Settings
from service.snapshots import SnapshotKeeper
from service.turns import Turns
from service.upload_slots import UploadSlots
from service.workers import Background, Workers, end
from service.write_path import Limits, WritePath
from storage.blobs import Blobs
from storage.damage import KnownDamage
from storage.holds import Holds
from storage.kept_holds import KeptHolds
from storage.keys import uuid7
from storage.port import ObjectStore
from storage.records import Records, new_nonce
from storage.sightings import Sightings
from storage.snapshots import Snapshots

log = structlog.get_logger(__name__)

HASH_THREADS = min(4, max(2, os.cpu_count() or 1))
"""More would wait for bytes: one interpreter takes in less than two of them hash."""
THREADS_GRACE = 5.0
"""Seconds for threads that are still busy when everything else has ended."""
LEASE_POOL = 8
"""Connections for renewals alone: a lease must not wait behind bulk work."""


@dataclass(frozen=True, slots=True)
class Running:
    """A frontend whose background work is under way: `loops` never end by themselves."""

    frontend: Frontend
    redis: Client
    loops: tuple[asyncio.Task[None], ...]


def owner() -> str:
    """How this process is named to others: host and process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


@asynccontextmanager
async def run_frontend(
    settings: Settings, store: ObjectStore, redis_url: str
) -> AsyncIterator[Running]:
    """Puts a frontend together on a store and a Redis, and takes it apart again.

    Leaving it closes all streams, makes durable what they received and releases
    their refs.

    Raises:
        ConfigurationError: the Redis URL is malformed, or the disk cache's folder is of no use.
    """
    async with AsyncExitStack() as stack:
        redis, renewals = open_client(redis_url), open_client(redis_url, pool_size=LEASE_POOL)
        stack.push_async_callback(close_client, redis)
        stack.push_async_callback(close_client, renewals)
        workers = Workers(settings.threads, HASH_THREADS, settings.call_deadline)
        stack.push_async_callback(workers.close, THREADS_GRACE)
        background, metrics = Background(), Metrics()
        server = Backend("Redis", uptime, tell)
        scripts = Scripts(redis, server)
        hold_cache = HoldCache(scripts, lambda: secrets.token_hex(8))
        stack.push_async_callback(hold_cache.close)
        compactions = Compactions(store, hold_cache, workers, background, new_nonce)
        records = Records(store)
        holds = _holds(store, settings, metrics, compactions)
        damage = KnownDamage(uptime)
        blobs = Blobs(store, records, holds, new_nonce, uptime, damage=damage)
        absences = Absences(Arrivals(redis), uptime)
        snapshots = SnapshotKeeper(Snapshots(store, new_nonce), holds, workers, background, uptime)
        catalogue = Catalogue(
            blobs=blobs,
            holds=holds,
            cache=hold_cache,
            absences=absences,
            workers=workers,
            shared=settings.sharing == "shared",
            now_ns=time.time_ns,
            clock=uptime,
            reading=snapshots.reading,
        )
        path = WritePath(
            store=store,
            records=records,
            blobs=blobs,
            ingests=Ingests(redis, scripts, owner()),
            leases=Leases(
                Scripts(renewals, server),
                uptime,
                settings.lease_ttl,
                min(MARGIN, settings.lease_ttl / 3),
            ),
            absences=absences,
            workers=workers,
            background=background,
            budget=BufferBudget(settings.buffer_budget, background.start, uptime),
            upload_slots=UploadSlots(settings.uploads, store.throttled),
            limits=Limits(
                settings.part_size,
                settings.parts_in_flight,
                settings.ingest_lifetime,
                settings.suspend_grace,
            ),
            now_ns=time.time_ns,
            clock=uptime,
            new_name=uuid7,
            new_nonce=new_nonce,
            hashed=metrics.bytes_hashed,
            stored=metrics.bytes_stored,
            misread=metrics.misread,
        )
        commits = Commits(path, Turns(path, catalogue.held))
        disk = await stack.enter_async_context(disk_cache(settings, metrics))
        fetches = max(2, settings.threads // 2)
        cache = BlockCache(
            store, workers, settings.cache_budget, fetches, disk, misread=metrics.misread
        )
        stack.push_async_callback(cache.close)
        quarantine = Quarantine(
            store=store,
            cache=hold_cache,
            known=damage,
            workers=workers,
            background=background,
            counted=metrics.damage,
            new_nonce=new_nonce,
            clock=uptime,
        )
        metrics.gauge(
            "holdfast_damage_known", "Damage that no cache may hide.", lambda: len(damage)
        )
        sessions = Sessions(path, commits, catalogue)
        intake = Intake(SIZE, uptime)
        _gauges(metrics, path, sessions, cache)
        metrics.backend("store", lambda: store.up)
        metrics.backend("redis", lambda: server.up)
        metrics.gauge("holdfast_intake_waiting", "Streams not read from.", lambda: intake.waiting)
        frontend = Frontend(
            catalogue=catalogue,
            reader=Reader(RecordCache(records, workers, uptime), cache, catalogue, quarantine),
            ingests=path.ingests,
            commits=commits,
            sessions=sessions,
            presence=_presence(store, workers, background),
            intake=intake,
            overload=_overload(settings, workers, metrics),
            background=background,
            metrics=metrics,
            call_deadline=settings.call_deadline,
        )
        loops = (
            asyncio.create_task(path.leases.keep()),
            asyncio.create_task(sessions.publish()),
            asyncio.create_task(sessions.watch_lost()),
        )
        try:
            yield Running(frontend, redis, loops)
        finally:
            await snapshots.close()
            await sessions.close_all()
            await background.drain(settings.suspend_grace)
            await end(loops)


def _holds(
    store: ObjectStore, settings: Settings, metrics: Metrics, compactions: Compactions
) -> Holds:
    def damaged(error: DataLoss) -> None:
        metrics.hold_damaged()
        log.warning("a damaged hold was passed over", reason=str(error))

    kept = KeptHolds(settings.list_budget)
    return Holds(store, uuid7, new_nonce, kept, damaged, crowded=compactions.crowded)


def _overload(settings: Settings, workers: Workers, metrics: Metrics) -> Overload:
    metrics.gauge(
        "holdfast_store_queued", "Requests that wait for a thread.", lambda: workers.queued
    )
    return Overload(
        Most(settings.max_streams, settings.max_reads, settings.max_calls),
        lambda: workers.queued,
        metrics.turned_away,
        clock=uptime,
        spread=random.uniform,
    )


def _presence(store: ObjectStore, workers: Workers, background: Background) -> Presence:
    sightings = Sightings(store, new_nonce)

    async def touch(tenant: str) -> None:
        await workers.store(sightings.touch, tenant)

    async def missed(tenant: str) -> bool:
        return await workers.store(sightings.missed, tenant)

    return Presence(touch, missed, background)


def _gauges(metrics: Metrics, path: WritePath, sessions: Sessions, cache: BlockCache) -> None:
    metrics.gauge("holdfast_streams", "Write streams that are open.", lambda: len(sessions))
    metrics.gauge("holdfast_leases", "Refs that are locked.", lambda: path.leases.held)
    metrics.gauge("holdfast_buffer_free_bytes", "Buffer left.", lambda: path.budget.free)
    metrics.gauge("holdfast_buffer_waiting", "Streams that wait.", lambda: path.budget.waiting)
    metrics.gauge("holdfast_buffer_spills", "Parts spilled so far.", lambda: path.budget.spills)
    metrics.gauge("holdfast_upload_slots", "Parts at once.", lambda: path.upload_slots.allowed)
    metrics.gauge("holdfast_cache_bytes", "Blocks in memory.", lambda: cache.size)
    metrics.gauge("holdfast_cache_hits", "Blocks found in memory.", lambda: cache.hits)
    metrics.gauge("holdfast_cache_misses", "Blocks not in memory.", lambda: cache.misses)
    metrics.gauge(
        "holdfast_background_tasks", "Work that outlives its request.", lambda: len(path.background)
    )
