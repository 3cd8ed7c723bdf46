"""A frontend: a core and the parts that serve clients, joined here."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from holdfast import origins
from holdfast.clocks import uptime
from holdfast.coordination.client import Client
from holdfast.coordination.connection import NAME, close_client, open_client
from holdfast.coordination.flights import Flights
from holdfast.coordination.leases import MARGIN, Leases
from holdfast.coordination.releases import Releases
from holdfast.coordination.scripts import Scripts
from holdfast.service.core import Core, open_core, owner
from holdfast.service.holdings.presence import Presence
from holdfast.service.holdings.quota_file import QuotaFile
from holdfast.service.holdings.warming import Warming
from holdfast.service.ingest.budget import BufferBudget
from holdfast.service.ingest.flights import FlightGate
from holdfast.service.ingest.intake import SIZE, Intake
from holdfast.service.ingest.offers import Offers
from holdfast.service.ingest.refs import Refs
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.ingest.write_path import Limits, WritePath
from holdfast.service.overview.fleet import overview_of
from holdfast.service.overview.sampler import UnderWay
from holdfast.service.overview.traffic import Traffic
from holdfast.service.pairing import Pairing, pairing_of
from holdfast.service.process.allocator import trim_heaps
from holdfast.service.process.audit_log import audit_log
from holdfast.service.process.background import end, loop_of
from holdfast.service.process.loop_lag import loop_lag
from holdfast.service.process.trace_export import traces_of
from holdfast.service.process.trimming import Trimming
from holdfast.service.reading.block_cache import BlockCache
from holdfast.service.reading.disk_cache import disk_cache
from holdfast.service.reading.quarantine import Quarantine
from holdfast.service.reading.reader import Reader, RecordCache
from holdfast.service.rpc.accounts import Accounts, Unwatched
from holdfast.service.rpc.call_log import CallLog
from holdfast.service.rpc.outflow import Outflow
from holdfast.service.rpc.overload import Most, Overload, RpcKind
from holdfast.service.rpc.parts import Frontend
from holdfast.service.rpc.rates import Rates
from holdfast.service.settings import Settings
from holdfast.service.store.run_reports import ReportWatch
from holdfast.service.trust.recognizers import Recognizers
from holdfast.service.web.readiness import Dependency
from holdfast.storage.keys import uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.traced import BUCKET, FOLDER, TracedStore


@dataclass(frozen=True, slots=True)
class Running:
    """A frontend whose background work is under way; `loops` never end by themselves.

    `budget` and `leases` are those of its write streams; `dependencies` are the backends that other
    frontends may reach when it doesn't.
    """

    frontend: Frontend
    budget: BufferBudget
    leases: Leases
    redis: Client
    pairing: Pairing
    reports: ReportWatch
    dependencies: tuple[Dependency, ...]
    loops: tuple[asyncio.Task[None], ...]


@asynccontextmanager
async def run_frontend(
    settings: Settings, store: ObjectStore, redis_url: str
) -> AsyncIterator[Running]:
    """Puts a frontend together on a store and a Redis, and closes it at the end.

    Leaving the `with` closes all streams, makes what they received durable and releases their
    refs.

    Raises:
        ConfigurationError: the Redis URL is malformed, or the disk cache's folder can't be used.
    """
    async with AsyncExitStack() as stack:
        traces = await stack.enter_async_context(traces_of(settings, "frontend"))
        if traces is not None:
            store = TracedStore(store, BUCKET if settings.s3_bucket else FOLDER)
        core = await stack.enter_async_context(open_core(settings, store, redis_url))
        # A connection of their own, so that no renewal waits behind bulk work.
        retried = core.backend.request_counts.retried
        renewals = open_client(redis_url, name=f"{NAME}/{owner()}", retried=retried)
        stack.push_async_callback(close_client, renewals)
        refs, path = _refs(settings, core, renewals), _write_path(settings, core)
        cache = await _block_cache(stack, settings, core)
        sessions = Sessions(refs, path, core.commits, core.catalogue, core.background)
        flights = _flights(settings, core)
        intake, outflow = Intake(SIZE, uptime), Outflow()
        _gauges(core, path, sessions, cache, intake)
        core.metrics.gauge(
            "holdfast_reads_handed_bytes",
            "Bytes of Reads' messages that clients haven't received yet.",
            lambda: outflow.handed,
        )
        metrics = core.metrics
        metrics.rpcs.exemplar = origins.exemplar
        recognizers = Recognizers(settings.identities, uptime, time.time)
        audit = audit_log(stack, settings, metrics)
        overload, traffic = _overload(settings, core), Traffic()
        metrics.gauge(
            "holdfast_identities_current",
            "1 while the rules in force are those of the file IDENTITIES, 0 while it is wrong.",
            lambda: recognizers.current,
        )
        frontend = Frontend(
            catalogue=core.catalogue,
            reader=_reader(core, cache, outflow),
            ingests=core.ingests,
            commits=core.commits,
            sessions=sessions,
            flights=flights,
            warming=Warming(core.catalogue, core.store.blobs, core.store.retained, new_nonce),
            presence=Presence(core.store.tenants.touch, core.store.tenants.missed, core.background),
            intake=intake,
            outflow=outflow,
            overload=overload,
            rates=_rates(core),
            traffic=traffic,
            overview=overview_of(
                core, sessions, traffic, _under_way(overload, path.budget), flights
            ),
            background=core.background,
            metrics=metrics,
            recognizers=recognizers,
            audit=audit,
            accounts=Accounts(
                uptime,
                [Unwatched(metrics.rpcs.unwatched), CallLog(settings.log_rpcs, uptime)],
                traces,
            ),
            call_deadline=settings.call_deadline,
            connection_age=settings.connection_age,
        )
        reports = ReportWatch(store, core.workers, metrics.reports(), time.time)
        trimming = _trimming(path, intake, outflow)
        loops = (
            *_loops(settings, core, refs, frontend, reports),
            loop_of("giving memory back", trimming.keep()),
        )
        try:
            pairing = pairing_of(core.store.paired, core.redis, core.scripts, redis_url)
            yield Running(
                frontend,
                path.budget,
                refs.leases,
                core.redis,
                pairing,
                reports,
                () if settings.embedded else _dependencies(core, pairing),
                loops,
            )
        finally:
            await core.snapshots.close()
            await sessions.close_all()
            # Leases are renewed for as long as anything is written.
            await core.background.drain(settings.suspend_grace)
            await refs.releases.finish()
            await end(loops)
            await frontend.overview.leave()


def _loops(
    settings: Settings,
    core: Core,
    refs: Refs,
    frontend: Frontend,
    reports: ReportWatch,
) -> tuple[asyncio.Task[None], ...]:
    """Starts what runs as long as the frontend does."""
    flights, sessions = frontend.flights, frontend.sessions
    return (
        *([loop_of("reporting flights", flights.keep())] if flights else []),
        *_watching_quotas(settings, core),
        *_watching_the_fleet(settings, core),
        loop_of("renewing leases", refs.leases.keep()),
        loop_of("releasing leases", refs.releases.keep()),
        loop_of("publishing progress", sessions.publish()),
        loop_of("listening for lost leases", sessions.watch_lost()),
        loop_of("reading identities", frontend.recognizers.keep()),
        loop_of("counting omitted lines", frontend.audit.keep()),
        loop_of("announcing figures", frontend.overview.keep()),
        loop_of("reading run reports", reports.keep()),
        loop_of("measuring the loop", loop_lag(core.metrics).keep()),
    )


def _under_way(overload: Overload, budget: BufferBudget) -> Callable[[], UnderWay]:
    gates = overload.gates
    return lambda: UnderWay(
        streams=gates[RpcKind.STREAMS].under_way,
        reads=gates[RpcKind.READS].under_way,
        calls=gates[RpcKind.CALLS].under_way,
        buffered=budget.size - budget.free,
    )


def _dependencies(core: Core, pairing: Pairing) -> tuple[Dependency, ...]:
    store, redis = pairing.redis_is_reached, pairing.store_is_reached
    return (
        Dependency("redis", lambda: core.backend.up, ask=redis, reached_by_others=store),
        Dependency("store", lambda: core.store.requests.up, ask=store, reached_by_others=redis),
    )


def _rates(core: Core) -> Rates:
    rates = Rates(core.quotas, core.metrics.quota_reached, uptime)
    core.metrics.gauge(
        "holdfast_paced_streams",
        "Write streams that wait because their tenant has written too fast.",
        lambda: rates.waiting,
    )
    return rates


def _watching_the_fleet(settings: Settings, core: Core) -> list[asyncio.Task[None]]:
    if not settings.fleet_bytes and not settings.quotas:
        return []
    core.metrics.gauge(
        "holdfast_fleet_room_bytes",
        "Bytes that all tenants together may still add, as far as this frontend knows.",
        lambda: inf if core.quotas.fleet is None else float(core.fleet_bound.room()),
    )
    return [loop_of("counting what the fleet holds", core.fleet_bound.keep())]


def _watching_quotas(settings: Settings, core: Core) -> list[asyncio.Task[None]]:
    if not settings.quotas:
        return []
    file = QuotaFile(Path(settings.quotas), core.quotas, settings.fleet_bytes or None)
    core.metrics.gauge(
        "holdfast_quotas_refused",
        "1 while the file of QUOTAS can't be used, and what it said before is in force.",
        lambda: float(file.refused),
    )
    return [loop_of("watching quotas", file.keep())]


def _refs(settings: Settings, core: Core, renewals: Client) -> Refs:
    ttl = settings.lease_ttl
    leases = Leases(Scripts(renewals, core.backend), uptime, ttl, min(MARGIN, ttl / 3))
    core.metrics.gauge("holdfast_leases", "Refs that this process has locked.", lambda: leases.kept)
    core.metrics.counter(
        "holdfast_leases_lost",
        "Leases that expired here, or that Redis refused to renew.",
        lambda: leases.losses,
    )
    return Refs(
        core.ingests,
        leases,
        Releases(core.ingests, uptime, ttl),
        now_ns=time.time_ns,
        new_name=uuid7,
        new_nonce=new_nonce,
    )


def _flights(settings: Settings, core: Core) -> FlightGate | None:
    if not settings.flight or not core.catalogue.shared:
        return None
    patience, wait = settings.flight_patience, settings.flight_wait
    absent = core.catalogue.absences.recent
    return FlightGate(
        Flights(core.scripts, patience=patience, wait=wait),
        # A flight outlives its commit by more than half of the patience.
        Offers(
            absent=absent,
            offers=core.catalogue.offers,
            fresh=patience / 2,
            wait=wait,
            clock=uptime,
        ),
        absent=absent,
        least=settings.flight_size,
        patience=patience,
        clock=uptime,
        counts=core.metrics,
    )


def _write_path(settings: Settings, core: Core) -> WritePath:
    return WritePath(
        store=core.store.requests,
        sender=core.store.sender,
        completion=core.completion,
        ingests=core.ingests,
        discards=core.discards,
        hashing=core.workers,
        budget=BufferBudget(settings.buffer_budget, core.background.start, uptime),
        limits=Limits(settings.part_size, settings.parts_in_flight, settings.suspend_grace),
        now_ns=time.time_ns,
        clock=uptime,
        new_name=uuid7,
        new_nonce=new_nonce,
        hashed=core.metrics.bytes_hashed,
    )


async def _block_cache(stack: AsyncExitStack, settings: Settings, core: Core) -> BlockCache:
    disk = await stack.enter_async_context(disk_cache(settings, core.metrics))
    cache = BlockCache(
        core.store.requests,
        settings.cache_budget,
        max(2, settings.threads // 2),
        disk,
    )
    stack.push_async_callback(cache.close)
    return cache


def _reader(core: Core, cache: BlockCache, outflow: Outflow) -> Reader:
    quarantine = Quarantine(
        records=core.store.records,
        tenants=core.store.tenants,
        cache=core.hold_cache,
        known=core.damage,
        background=core.background,
        counted=core.metrics.damage,
        clock=uptime,
    )
    records = RecordCache(core.store.records, uptime)
    return Reader(records, cache, core.catalogue, quarantine, outflow.message)


def _trimming(path: WritePath, intake: Intake, outflow: Outflow) -> Trimming:
    def taken() -> int:
        buffered = path.budget.size - path.budget.free
        return buffered + intake.size - intake.free + outflow.handed

    return Trimming(taken, trim_heaps)


def _overload(settings: Settings, core: Core) -> Overload:
    workers, metrics = core.workers, core.metrics
    metrics.gauge(
        "holdfast_store_queued",
        "Calls to the store that wait for a thread, or for their turn on the loop.",
        lambda: workers.queued,
    )
    metrics.gauge(
        "holdfast_store_calls",
        "Calls to the store that are being carried out.",
        lambda: workers.asking,
    )
    metrics.gauge(
        "holdfast_hash_calls",
        "Pieces that are being hashed, or wait for a thread that hashes.",
        lambda: workers.hashing,
    )
    return Overload(
        Most(settings.max_streams, settings.max_reads, settings.max_calls),
        lambda: workers.queued,
        metrics.turned_away,
        clock=uptime,
        spread=random.uniform,
    )


def _gauges(
    core: Core, path: WritePath, sessions: Sessions, cache: BlockCache, intake: Intake
) -> None:
    metrics = core.metrics
    metrics.backend("store", lambda: core.store.requests.up)
    metrics.backend("redis", lambda: core.backend.up)
    metrics.requests("store", core.store.request_counts, apart=True)
    metrics.requests("redis", core.backend.request_counts)
    metrics.gauge(
        "holdfast_damage_known",
        "Digests for which no cache is trusted, because damage was found recently.",
        lambda: len(core.damage),
    )
    metrics.gauge(
        "holdfast_intake_waiting",
        "Streams whose next message isn't read yet, because others are being read.",
        lambda: intake.waiting,
    )
    metrics.gauge("holdfast_streams", "Open write streams.", lambda: len(sessions))
    metrics.gauge(
        "holdfast_stream_silence_seconds",
        "Time since the write stream that has been silent for longest sent bytes.",
        lambda: sessions.silence,
    )
    _buffer_gauges(core, path.budget)
    metrics.gauge("holdfast_cache_bytes", "Bytes of blocks in memory.", lambda: cache.size)
    metrics.counter("holdfast_cache_hits", "Blocks found in memory.", lambda: cache.hits)
    metrics.counter("holdfast_cache_misses", "Blocks not found in memory.", lambda: cache.misses)
    metrics.gauge(
        "holdfast_background_tasks",
        "Tasks that outlive their request.",
        lambda: len(core.background),
    )


def _buffer_gauges(core: Core, budget: BufferBudget) -> None:
    metrics = core.metrics
    metrics.gauge("holdfast_buffer_bytes", "The buffer budget.", lambda: budget.size)
    metrics.gauge(
        "holdfast_buffer_free_bytes", "Free bytes of the buffer budget.", lambda: budget.free
    )
    metrics.gauge(
        "holdfast_buffer_waiting",
        "Streams that wait for the buffer budget.",
        lambda: budget.waiting,
    )
    metrics.counter(
        "holdfast_buffer_spills",
        "Parts of silent clients written to a tail to make room for others.",
        lambda: budget.spills,
    )
    metrics.gauge(
        "holdfast_upload_slots",
        "Parts that may be uploaded concurrently.",
        lambda: core.upload_slots.allowed,
    )
