"""Runs a frontend: checks the backends, opens the listeners, waits for a signal, and drains."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from holdfast.checks import require
from holdfast.clocks import uptime
from holdfast.coordination.client import Client
from holdfast.coordination.embedded import EmbeddedRedis
from holdfast.coordination.probe import probe
from holdfast.deadlines import within
from holdfast.errors import DataLoss, Unavailable, because
from holdfast.service.backends import checked_store, embedded_redis
from holdfast.service.frontend import Running, run_frontend
from holdfast.service.listeners import parse
from holdfast.service.overview.problems import Problems
from holdfast.service.pairing import Pairing
from holdfast.service.process.background import end, loop_of
from holdfast.service.process.notify import READY, STOPPING, notify
from holdfast.service.process.room import attend
from holdfast.service.process.signals import follow_log_level, stop_signal
from holdfast.service.rpc.server import Servers
from holdfast.service.settings import Settings
from holdfast.service.web.app import Site
from holdfast.service.web.debug import Debug
from holdfast.service.web.history import History
from holdfast.service.web.inspections import of_frontend
from holdfast.service.web.main_loop import MainLoop
from holdfast.service.web.page import Page
from holdfast.service.web.port import HttpPort, http_port
from holdfast.service.web.readiness import Readiness, Stage
from holdfast.storage.fleet import LONGEST, declare_lifetime
from holdfast.storage.reserve import ReservedStore
from holdfast.tasks import begin

log = structlog.get_logger(__name__)

WATCH_INTERVAL: Final = 1.0
"""Seconds between two checks of an embedded Redis."""
Result = TypeVar("Result")
Revive = Callable[[], Awaitable[bool]]
"""Restarts an embedded Redis if it has died; returns False if it had died."""
REDIS_RETRY: Final = 2.0
"""Seconds between two checks of a Redis that couldn't be reached at start."""


async def serve(settings: Settings, problems: Problems) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        settings: the settings.
        problems: the latest lines of the log.

    Raises:
        ConfigurationError: a backend, a listener or a setting can't be used.
        PermissionDenied: a backend refuses the credentials.
        Unavailable: the object store can't be reached at start.
    """
    stop = stop_signal()
    follow_log_level(settings.log_level)
    with (
        # The embedded server ends with the thread that started it, so this thread ends last.
        ThreadPoolExecutor(1, "redis") as keeper,
        embedded_redis(settings) as redis,
        checked_store(settings) as store,
    ):
        if settings.embedded:
            log.info(
                "embedded; only this machine can use the data folder",
                data_dir=str(settings.data_dir),
                advice="for a fleet, set HOLDFAST_S3_BUCKET and HOLDFAST_REDIS_URL",
            )
        url = redis.url if redis else settings.redis_url
        revive = partial(_revive, redis, keeper) if redis else None
        await _serve(settings, store, url, revive, stop, problems=problems)
    log.info("stopped")


async def _revive(redis: EmbeddedRedis, keeper: ThreadPoolExecutor) -> bool:
    return await asyncio.get_running_loop().run_in_executor(keeper, redis.ensure_running)


async def _serve(
    settings: Settings,
    store: ReservedStore,
    redis_url: str,
    revive: Revive | None,
    stop: asyncio.Event,
    *,
    problems: Problems,
) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(run_frontend(settings, store, redis_url))
        running.frontend.overview.show_problems(problems.latest)
        servers = Servers(running.frontend, settings.transport)
        readiness = Readiness(running.dependencies, uptime)
        if settings.http:
            # This stays open until the very end, because the figures matter most during a drain.
            await stack.enter_async_context(_http(settings, running, servers, readiness))
        pairing = None if settings.embedded else running.pairing
        watch = await _unless(stop, _check_redis(running.redis, pairing, revive))
        if watch is None:
            return
        stack.push_async_callback(end, [watch])
        stack.push_async_callback(servers.drain, settings.drain_grace)
        # Before the first write, collectors must know how long an ingest may live.
        with within(settings.call_deadline):
            await asyncio.to_thread(
                declare_lifetime, store, settings.ingest_lifetime, _tell_of_a_lost_lifetime
            )
        listeners = [parse(listen) for listen in settings.listen]
        for listener in listeners:
            await servers.listen(listener)
        await servers.ready()
        # A tenant with a listener of its own exists for as long as the listener is served.
        own = {listener.tenant for listener in listeners if listener.tenant}
        attending = loop_of("noting tenants", running.frontend.presence.attend(own))
        keeping = loop_of("keeping the reserve", attend(store.reserve))
        stack.push_async_callback(end, [attending, keeping])
        readiness.stage = Stage.SERVING
        # All objects made so far live as long as the process.
        gc.freeze()
        log.info("ready")
        notify(READY)
        await _until_stopped(stop, (watch, attending, keeping, *running.loops))
        readiness.stage = Stage.DRAINING
        notify(STOPPING)
        log.info("draining", streams=len(running.frontend.sessions))


def _tell_of_a_lost_lifetime(damage: DataLoss) -> None:
    log.error(
        "longest life of ingests was damaged; it is replaced",
        seconds=LONGEST,
        reason=because(damage),
    )


def _http(
    settings: Settings, running: Running, servers: Servers, readiness: Readiness
) -> AbstractAsyncContextManager[HttpPort]:
    frontend, loop = running.frontend, MainLoop(uptime)
    inspections = of_frontend(frontend, running.budget, running.leases, servers.connections)
    overview = frontend.overview
    page = Page(loop, overview.current, History(lambda: overview.own), overview.hour)
    debug = Debug(loop, inspections)
    site = Site(loop, readiness, frontend.metrics.exposed, debug, page)
    return http_port(
        settings.http,
        site,
        metrics=frontend.metrics,
        audit=frontend.audit,
        identities=settings.identities,
    )


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Waits for work and returns its result; at the signal to stop, cancels it and returns None."""
    working, stopped = begin(work), begin(stop.wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        await end([working, stopped])


async def _check_redis(
    client: Client, pairing: Pairing | None, revive: Revive | None
) -> asyncio.Task[None]:
    """Refuses an unfit Redis, or one that isn't the store's; then begins to watch it.

    A frontend also starts if Redis can't be reached, because committed content can be read
    without it. Redis is then checked when it comes back.
    """
    log.info("Redis check started")
    try:
        require(await probe(client), "Redis")
    except Unavailable as error:
        log.warning(
            "Redis unreachable; only reads are served until it answers", reason=because(error)
        )
        return loop_of("watching Redis", _watch(pairing, revive, client))
    if pairing is not None:
        try:
            await pairing.settle()
        except Unavailable as error:  # Redis, or the store: the reason says which
            log.warning("pairing not confirmed; it will be retried", reason=because(error))
    return loop_of("watching Redis", _watch(pairing, revive))


async def _watch(
    pairing: Pairing | None, revive: Revive | None, unchecked: Client | None = None
) -> None:
    """Checks in a loop that an embedded Redis lives, and that the store is used with this Redis.

    Args:
        pairing: of the store and this Redis; None if it needs no check.
        revive: of an embedded Redis.
        unchecked: the client of a Redis that couldn't be reached yet.

    Raises:
        ConfigurationError: the Redis that came back is unfit, or the store is now used with
            another Redis.
    """
    tasks = [begin(_attend(pairing, unchecked))]
    if revive is not None:
        tasks.append(begin(_keep_alive(revive)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(tasks)


async def _attend(pairing: Pairing | None, unchecked: Client | None) -> None:
    if unchecked is not None:
        await _check_later(unchecked)
    if pairing is not None:
        await pairing.attend()
    await asyncio.Event().wait()


async def _check_later(client: Client) -> None:
    while True:
        await asyncio.sleep(REDIS_RETRY)
        with suppress(Unavailable):
            require(await probe(client), "Redis")
            log.info("Redis answers; writes are served")
            return


async def _keep_alive(revive: Revive) -> None:
    while True:
        await asyncio.sleep(WATCH_INTERVAL)
        if not await revive():
            log.warning("embedded Redis died; it was started again")


async def _until_stopped(stop: asyncio.Event, tasks: tuple[asyncio.Task[None], ...]) -> None:
    """Waits for a signal, or for a task that should never end.

    Raises:
        HoldfastError: the Redis that came back can't be used, or the store is now used with
            another Redis.
    """
    signalled = begin(stop.wait())
    try:
        await asyncio.wait([signalled, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        signalled.cancel()
    for task in tasks:
        if task.done():
            task.result()
