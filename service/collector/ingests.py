"""Ends ingests that were left behind in Redis, and gives up what tenants that are gone have.

    being written, or moved within L         → kept
    frozen, and no process works on it       → its commit is carried out
    not moved for longer than L              → dropped, with its upload and its tail

A commit of an ingest older than L is refused, so an ingest that is dropped could not have become
content any more. A tenant that has no ingests, and announced its last one long ago, is removed from
the index; a writer announces its tenant before it opens an ingest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from holdfast.coordination.growth import Growth
from holdfast.coordination.ingest import Ingest
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.stale import Announced, Judged, StaleFate, StaleIngests
from holdfast.errors import DataLoss, HoldfastError, Unavailable
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.ingest.commit import Commits
from holdfast.storage.holds import Holds
from holdfast.storage.keys import hold_digest
from holdfast.storage.port import Entry
from holdfast.storage.sightings import Sightings
from holdfast.storage.snapshots import Snapshots

LATELY: Final = 30 * 24 * 3600.0
"""Seconds, beyond twice L, within which a tenant must have been seen for Redis to be asked."""
TENANTS_ABREAST: Final = 50
"""Tenants for which Redis is asked concurrently."""
DELETES_ABREAST: Final = 8
"""Digests of a tenant that are given up concurrently."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The parts with which a collector acts as a frontend would, on Redis and on holds.

    `now_ms` returns the time in ms since 1970, by this machine's clock. Nothing goes by it alone.
    """

    stale: StaleIngests
    ingests: Ingests
    commits: Commits
    catalogue: Catalogue
    holds: Holds
    snapshots: Snapshots
    now_ms: Callable[[], int]
    growth: Growth


@dataclass(frozen=True, slots=True)
class StaleLimits:
    """How long an ingest may stand still, in ms; one that does so for longer is abandoned.

    Attributes:
        now: the time of the run, in ms since 1970.
        frozen: for an ingest whose commit is frozen.
        others: for all others.
    """

    now: int
    frozen: int
    others: int

    @classmethod
    def at(cls, now_ms: int, ages: Ages) -> Self:
        """Returns the limits of a run at `now_ms`."""
        return cls(now_ms, round(ages.landing * 1000), round(ages.ingest_lifetime * 1000))

    async def judge(self, stale: StaleIngests, tenant: str, ref: str, *, change: bool) -> Judged:
        """Returns what becomes of an ingest, and drops it if that is so; see `StaleIngests`.

        Raises:
            Unavailable: Redis can't be reached.
            DataLoss: what Redis has of it can't be read; it is dropped all the same.
        """
        return await stale.judge(
            tenant, ref, self.now, frozen_ms=self.frozen, stale_ms=self.others, change=change
        )


class IngestSweep:
    """The pass over ingests of all tenants."""

    def __init__(self, run: CollectorRun, knowledge: Knowledge) -> None:
        self._run = run
        self._know = knowledge

    async def __call__(self) -> None:
        """Checks the ingests of all tenants in the index, and of those that only the store knows.

        Redis may have lost an entry of the index and kept the tenant's ingests, which are in
        another slot of a Cluster. Each tenant that writes was noted in the store before.

        Raises:
            Unavailable: Redis or the store can't be reached.
        """
        known = set()
        for announced in await self._know.stale.tenants():
            known.add(announced.tenant)
            self._run.report.note(CollectedKind.TENANTS, Fate.SEEN)
            await self._tenant(announced)
        sighted = self._lately_sighted(known)
        while batch := await asyncio.to_thread(lambda: list(islice(sighted, TENANTS_ABREAST))):
            idle = await asyncio.gather(*map(self._know.stale.idle, batch))
            for tenant, without in zip(batch, idle, strict=True):
                if not without:
                    self._run.report.note(CollectedKind.TENANTS, Fate.SEEN)
                    await self._tenant(Announced(tenant, self._know.now_ms()))

    def _lately_sighted(self, known: set[str]) -> Iterator[str]:
        run = self._run
        oldest = run.store.now() - 2 * run.ages.ingest_lifetime - LATELY
        for sighted in run.watched(Sightings(run.store, run.new_nonce).all()):
            seen = sighted.seen
            if seen and seen.last_modified > oldest and sighted.tenant not in known:
                yield sighted.tenant

    async def _tenant(self, announced: Announced) -> None:
        know = self._know
        limits = StaleLimits.at(know.now_ms(), self._run.ages)
        latest = limits.now - min(limits.frozen, limits.others)
        for ref in self._run.watched(await know.stale.refs(announced.tenant, latest)):
            try:
                judged = await limits.judge(
                    know.stale, announced.tenant, ref, change=not self._run.dry
                )
            except DataLoss as error:
                self._run.report.error(f"an ingest of {announced.tenant}", error)
                continue
            await self._act(announced.tenant, ref, judged.fate, judged.ingest)
        if announced.at_ms < limits.now - limits.others and await know.stale.idle(announced.tenant):
            if not self._run.dry and not await know.stale.leave(announced):
                return
            self._run.report.note(CollectedKind.TENANTS, Fate.LEFT)

    async def _act(self, tenant: str, ref: str, fate: StaleFate, ingest: Ingest | None) -> None:
        report = self._run.report
        if fate is StaleFate.KEPT:
            report.note(CollectedKind.INGESTS, Fate.IN_USE)
        elif fate is StaleFate.FROZEN and ingest is not None:
            await self._carry_out(tenant, ingest)
        else:
            if ingest is not None and not self._run.dry:
                await self._discard(ingest)
            size = ingest.offset if ingest else 0
            report.note(CollectedKind.INGESTS, Fate.DROPPED, size, f"{ref} of {tenant}")

    async def _carry_out(self, tenant: str, ingest: Ingest) -> None:
        """Carries out a commit; one that fails, or that this version can't read, stays frozen."""
        try:
            if not self._run.dry:
                await self._know.commits.redrive(tenant, ingest)
        except Unavailable:
            raise
        except HoldfastError as error:
            self._run.report.error(f"a frozen commit of {tenant}", error)
        else:
            self._run.report.note(CollectedKind.INGESTS, Fate.CARRIED_OUT, ingest.offset)

    async def _discard(self, ingest: Ingest) -> None:
        store = self._run.store
        if ingest.upload_id:
            await asyncio.to_thread(store.abort_upload, ingest.data_key, ingest.upload_id)
        if ingest.tail_key:
            await asyncio.to_thread(store.delete, ingest.tail_key)


async def give_up(
    run: CollectorRun, know: Knowledge, tenant: str, gone: Callable[[], bool] = lambda: True
) -> bool:
    """Gives up all that a tenant has, as its own Aborts and Deletes would.

    Ingests go first, because carrying out a frozen commit makes a hold. Snapshots of holds go last.

    Args:
        run: the run that this is part of.
        know: acts on Redis, and on holds, as a frontend would.
        tenant: the tenant that is gone.
        gone: asks the store whether the tenant is still gone; called in a thread, before each
            hold is deleted.

    Returns:
        False if the tenant isn't gone; then the holds that it still has are kept.

    Raises:
        Unavailable: Redis or the store can't be reached.
    """
    if not await asyncio.to_thread(gone):
        return False
    for ingest in run.watched(await know.ingests.find_all(tenant)):
        if not run.dry:
            await know.commits.abort(tenant, ingest.ref)
        run.report.note(
            CollectedKind.INGESTS, Fate.DROPPED, ingest.offset, f"{ingest.ref} of {tenant}"
        )
    groups = know.holds.groups(tenant)

    async def delete(group: list[Entry]) -> bool:
        digest = hold_digest(group[0].key)
        if not run.dry and not await know.catalogue.give_up(tenant, digest, gone):
            return False
        run.report.note(CollectedKind.HOLDS, Fate.GIVEN_UP, name=f"{digest} of {tenant}")
        return True

    while batch := await asyncio.to_thread(lambda: list(islice(groups, DELETES_ABREAST))):
        if not all(await asyncio.gather(*map(delete, run.watched(batch)))):
            return False
    if not run.dry:
        await asyncio.to_thread(know.snapshots.remove, tenant)
    return True
