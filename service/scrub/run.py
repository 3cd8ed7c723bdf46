"""Runs a scrub by settings: opens the store, handles signals, and makes one pass or many."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from types import FrameType

import structlog

from holdfast.coordination.embedded import EmbeddedRedis, socket_url
from holdfast.errors import Unavailable, because
from holdfast.service.backends import open_store
from holdfast.service.process.runs import traced_runs
from holdfast.service.scrub.caches import forget_holds
from holdfast.service.scrub.passes import Means, Pass, ScrubOptions
from holdfast.service.scrub.report import ScrubReport
from holdfast.service.settings import REQUEST_LANDING, Settings
from holdfast.service.store.run_reports import tell
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.keys import uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import new_nonce
from holdfast.storage.run_reports import Reporter

log = structlog.get_logger(__name__)


def hold_age(settings: Settings, store: ObjectStore) -> float:
    """Returns the seconds after which a hold without content can't belong to a commit any more."""
    return max(settings.ingest_lifetime, longest_lifetime(store)) + REQUEST_LANDING


def redis_url(settings: Settings) -> str:
    """Returns the URL of the Redis whose cache must forget; "" if no Redis is running."""
    if settings.redis_url:
        return settings.redis_url
    # Entries that an embedded Redis has saved are void when it is started again.
    return socket_url(settings.data_dir) if EmbeddedRedis(settings.data_dir).in_use() else ""


def forget(settings: Settings, store: ObjectStore) -> None:
    """Makes all frontends of a store forget what tenants hold.

    Raises:
        Unavailable: Redis or the store can't be reached.
    """
    url = redis_url(settings)
    if url:
        forget_holds(store, url)


def scrub(
    settings: Settings,
    ordered: Callable[[float], ScrubOptions],
    ended: Callable[[ScrubReport], None],
    *,
    pause: float | None,
) -> bool:
    """Scrubs once, or in a loop until SIGTERM or SIGINT; returns whether nothing is wrong.

    Args:
        settings: the settings of the store and Redis.
        ordered: returns the orders, given the seconds for which a hold may have no content.
        ended: called with the report of each run.
        pause: seconds between two passes; None: make one pass.

    Raises:
        ConfigurationError: the store isn't there.
        HoldfastError: the store fails; a loop raises it only if a retry is useless.
    """
    with (
        traced_runs(settings, "scrub") as runs,
        closing(open_store(settings)) as plain,
        stopping() as stop,
    ):
        store = runs.seen(plain)
        store.check_access()
        means = Means(
            store=store,
            forget=partial(forget, settings, store),
            clock=time.monotonic,
            now=time.time,
            wait=stop.wait,
            stop=stop,
            new_name=uuid7,
            new_nonce=new_nonce,
        )
        well = True
        log.info("scrub started", loop=pause is not None)
        while True:
            try:
                with runs.run() as found:
                    report = Pass(ordered(hold_age(settings, store)), means).run()
                    found.update(report.run_report().outcome)
            except Unavailable as error:
                if pause is None:
                    raise
                log.warning("store failed; the scrub will continue later", reason=because(error))
            else:
                if report.brake:
                    log.error("too much damage found; the scrub stopped", reason=report.brake)
                well = well and report.well
                if report.told:
                    tell(store, Reporter.SCRUB, report.run_report(), settings.call_deadline)
                ended(report)
            if pause is None or stop.wait(pause):
                return well


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
