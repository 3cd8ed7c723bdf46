"""Puts together what is asked to explain a blob or a ref, and asks it; nothing is changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.backend import Backend
from holdfast.clocks import uptime
from holdfast.coordination.announcements import Announcements
from holdfast.coordination.connection import NAME, close_client, open_client
from holdfast.coordination.flights import Flights
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.inquiries import Inquiries
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.stale import StaleIngests
from holdfast.digests import Digest
from holdfast.errors import DataLoss, HoldfastError, because
from holdfast.overview import FRONTENDS, FrontendFigures, Problem
from holdfast.service.backends import running_redis, tended_store
from holdfast.service.collector.ages import Ages
from holdfast.service.core import owner
from holdfast.service.explain.blob import BlobLook, StoredBlob
from holdfast.service.explain.facts import BlobExplanation, IngestFacts, RefExplanation
from holdfast.service.explain.rehearsal import BlobRehearsal
from holdfast.service.explain.summary import summary
from holdfast.service.explain.writers import Asker, Writers
from holdfast.service.process.outages import log_change
from holdfast.service.settings import Settings
from holdfast.storage.fleet import longest_lifetime
from holdfast.storage.port import ObjectStore
from holdfast.storage.read_only import ReadOnlyStore
from holdfast.storage.spool import Spools
from holdfast.values import Flight

Looked = Callable[[int], None]
"""Called with how many tenants were looked at so far."""
Problems = tuple[tuple[str, Problem], ...]
REDIS: Final = "Redis can't be asked who writes it"


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained.

    Attributes:
        tenants: the tenants that are looked at; None: all.
        most: how many holders and writers are named, with all that is known of them.
        spool_dir: folder in which listings are sorted; None: the system's temporary folder.
    """

    tenants: Sequence[str] | None
    most: int
    spool_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class InRedis:
    """What Redis knows of a blob."""

    ingests: tuple[IngestFacts, ...] = ()
    count: int = 0
    flight: Flight | None = None
    arrived: bool = False
    problems: Problems = ()
    missing: tuple[str, ...] = ()


class Explainer:
    """Explains what there is in one store and one Redis."""

    def __init__(
        self, settings: Settings, store: ObjectStore, ages: Ages, scripts: Scripts, asker: Asker
    ) -> None:
        """Asks nothing yet.

        Args:
            settings: of the collector, and how many threads ask the store.
            store: the store.
            ages: of the collector.
            scripts: on the Redis.
            asker: what is asked for writers.
        """
        self._settings = settings
        self._store = store
        self._ages = ages
        self._scripts = scripts
        self._asker = asker

    async def blob(
        self, digest: Digest, question: Question, looked: Looked = lambda _: None
    ) -> BlobExplanation:
        """Returns all that is known of a digest.

        Raises:
            ConfigurationError: no file can be created in the folder for sorting.
            Unavailable: the store can't be reached.
        """
        redis = await self._in_redis(digest, question)
        threads = self._settings.threads
        with Spools(question.spool_dir) as spools, ThreadPoolExecutor(threads, "explain") as pool:
            look = BlobLook(self._store, self._ages, spools, pool)
            stored: StoredBlob = await asyncio.to_thread(
                look.look, digest, question.tenants, question.most, looked
            )
            rehearsal = BlobRehearsal(self._store, self._ages, spools, self._settings.retain_bytes)
            # Among the holds of some tenants only, a blob would seem to be held by nobody.
            some = question.tenants is not None
            verdicts = () if some else await asyncio.to_thread(rehearsal.of, stored.entries)
        return BlobExplanation(
            digest=digest,
            summary=summary(digest, stored, redis.count, some=some),
            record=stored.record,
            data=stored.data,
            markers=stored.markers,
            holders=stored.holders.facts,
            ingests=redis.ingests,
            ingest_count=redis.count,
            # A flight stays for seconds after it has landed.
            flight=redis.flight if redis.count else None,
            arrived=redis.arrived,
            gc=verdicts,
            problems=redis.problems,
            missing=redis.missing,
        )

    async def ref(self, ref: str, question: Question) -> RefExplanation:
        """Returns all that is known of a ref.

        Raises:
            Unavailable: Redis or the store can't be reached.
        """
        frontends = await self._frontends()
        writers = Writers(self._asker, frozenset(one.name for one in frontends))
        found = await writers.of_refs(ref, question.tenants)
        about = _about(frontends, lambda problem: problem.ref == ref)
        return RefExplanation(ref, tuple(found), about, ())

    async def _in_redis(self, digest: Digest, question: Question) -> InRedis:
        """Returns what Redis knows of a digest; without Redis, why it is nothing."""
        try:
            frontends = await self._frontends()
            writers = Writers(self._asker, frozenset(one.name for one in frontends))
            found, count = await writers.of_digest(digest, question.tenants, question.most)
            # The times matter only to those who ask for admission.
            flights = Flights(self._scripts, patience=0.0, wait=0.0)
            return InRedis(
                tuple(found),
                count,
                await flights.show(digest),
                await self._asker.inquiries.arrived(digest),
                _about(frontends, lambda problem: problem.digest == str(digest)),
                tuple(writers.unread),
            )
        except HoldfastError as error:
            return InRedis(missing=(f"{REDIS}: {because(error)}",))

    async def _frontends(self) -> list[FrontendFigures]:
        found = []
        for body in await Announcements(self._scripts).listed(FRONTENDS):
            try:
                found.append(FrontendFigures.decode(body))
            except DataLoss:
                continue  # of a version that announces in another way
        return found


def _about(frontends: Iterable[FrontendFigures], relevant: Callable[[Problem], bool]) -> Problems:
    found = [
        (one.name, problem) for one in frontends for problem in one.problems if relevant(problem)
    ]
    return tuple(sorted(found, key=lambda pair: -pair[1].at))


@asynccontextmanager
async def explainer(settings: Settings) -> AsyncIterator[Explainer]:
    """Opens what an explanation needs, and closes it at the end.

    Raises:
        ConfigurationError: a backend or a setting can't be used.
        PermissionDenied: a backend refuses the credentials.
        Unavailable: the store can't be reached.
    """
    with tended_store(settings, dry_run=True) as opened, running_redis(settings) as url:
        async with explainer_of(settings, opened, url) as made:
            yield made


@asynccontextmanager
async def explainer_of(
    settings: Settings, store: ObjectStore, redis_url: str
) -> AsyncIterator[Explainer]:
    """Puts an explainer together on a store and a Redis, and closes its connections at the end.

    Raises:
        ConfigurationError: the Redis URL is malformed, or ages aren't safe for the fleet.
        Unavailable: the store can't be reached.
    """
    async with AsyncExitStack() as stack:
        redis = open_client(redis_url, name=f"{NAME}/{owner()}")
        stack.push_async_callback(close_client, redis)
        looked = ReadOnlyStore(store)
        ages = Ages.of(settings, await asyncio.to_thread(longest_lifetime, looked))
        scripts = Scripts(redis, Backend("Redis", uptime, log_change))
        asker = Asker(
            ingests=Ingests(redis, scripts, owner()),
            inquiries=Inquiries(redis, scripts),
            stale=StaleIngests(redis, scripts),
            store=looked,
            ages=ages,
            now_ms=lambda: time.time_ns() // 10**6,
        )
        yield Explainer(settings, looked, ages, scripts, asker)
