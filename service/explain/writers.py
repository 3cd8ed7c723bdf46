"""Who writes a ref or a blob, where and how far: what Redis knows, and what the store has of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

from holdfast.coordination.ingest import Ingest
from holdfast.coordination.ingests import Ingests
from holdfast.coordination.inquiries import Inquiries, LeaseSeen, RefSeen
from holdfast.coordination.stale import StaleFate, StaleIngests
from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.ingests import StaleLimits
from holdfast.service.explain.facts import IngestFacts, LeaseFacts, ObjectFacts
from holdfast.service.ingest.frozen import FrozenCommit
from holdfast.storage.port import NoSuchKey, NoSuchUpload, ObjectStore

ABREAST: Final = 50
"""Tenants whose ingests are looked at concurrently."""
HOUR: Final = 3600.0
UNREAD: Final = 10
"""Ingests that can't be read, and are named."""
LATEST_MS: Final = 2**53
"""A time in ms since 1970 that is later than all others."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The parts with which writers are looked for.

    Attributes:
        ingests: of all tenants.
        inquiries: reads single refs.
        stale: decides for the collector, and knows the tenants.
        store: has what was sent.
        ages: of the collector.
        now_ms: returns the time, in ms since 1970.
    """

    ingests: Ingests
    inquiries: Inquiries
    stale: StaleIngests
    store: ObjectStore
    ages: Ages
    now_ms: Callable[[], int]


class Writers:
    """Finds writers, and says what is known of them.

    Attributes:
        unread: ingests that can't be read, the first of them, and why.
    """

    def __init__(self, asker: Asker, alive: frozenset[str] | None) -> None:
        """Asks nothing yet.

        Args:
            asker: what is asked.
            alive: the frontends that have announced themselves lately; None if that isn't known.
        """
        self.unread: list[str] = []
        self._ask = asker
        self._alive = alive

    async def of_digest(
        self, digest: Digest, tenants: Sequence[str] | None, most: int
    ) -> tuple[list[IngestFacts], int]:
        """Returns the ingests of a digest, the first `most` with all that is known; and how many.

        An ingest is one if its client has declared the digest, if its ref ends in it, or if its
        frozen commit has it.

        Raises:
            Unavailable: Redis or the store can't be reached.
        """
        found: list[tuple[str, str]] = []
        for batch in _batches(tenants if tenants is not None else await self._tenants()):
            for some in await asyncio.gather(*(self._named(one, digest) for one in batch)):
                found += some
        facts = [await self.of_ref(tenant, ref) for tenant, ref in found[:most]]
        return [one for one in facts if one], len(found)

    async def _named(self, tenant: str, digest: Digest) -> list[tuple[str, str]]:
        """Returns a tenant's ingests of a digest: tenant and ref."""
        found = []
        try:
            async for batch in self._ask.ingests.each(tenant):
                found += [(tenant, one.ref) for one in batch if str(digest) in _digests(one)]
        except DataLoss:  # one that can't be read must not hide the others
            return await self._one_by_one(tenant, digest)
        return found

    async def _one_by_one(self, tenant: str, digest: Digest) -> list[tuple[str, str]]:
        found = []
        for ref in await self._ask.stale.refs(tenant, LATEST_MS):
            seen = await self._ask.inquiries.ref(tenant, ref)
            if seen.ingest and str(digest) in _digests(seen.ingest):
                found.append((tenant, ref))
            if seen.damaged and len(self.unread) < UNREAD:
                self.unread.append(f"an ingest of {tenant}: {seen.damaged}")
        return found

    async def of_refs(self, ref: str, tenants: Sequence[str] | None) -> list[IngestFacts]:
        """Returns what tenants have under the name of a ref.

        Raises:
            Unavailable: Redis or the store can't be reached.
        """
        found: list[IngestFacts] = []
        for batch in _batches(tenants if tenants is not None else await self._tenants()):
            facts = await asyncio.gather(*(self.of_ref(tenant, ref) for tenant in batch))
            found += [one for one in facts if one]
        return found

    async def of_ref(self, tenant: str, ref: str) -> IngestFacts | None:
        """Returns what is known of a tenant's ref; None if nothing is.

        Raises:
            Unavailable: Redis or the store can't be reached.
        """
        seen = await self._ask.inquiries.ref(tenant, ref)
        if not seen.known:
            return None
        lease = self._lease(seen.lease) if seen.lease else None
        done = (seen.done.digest, seen.done.size) if seen.done else None
        state = _state(seen, lease)
        if seen.ingest is None:
            gc = "" if not seen.damaged else await self._verdict(tenant, ref)
            return IngestFacts(tenant, ref, state, lease, done=done, gc=gc, error=seen.damaged)
        ingest = seen.ingest
        return IngestFacts(
            tenant,
            ref,
            state,
            lease,
            offset=ingest.offset,
            live=ingest.live,
            total=ingest.total,
            expected=next(iter(_digests(ingest)), ""),
            started_at=ingest.started_at_ns / 1e9,
            updated_at=ingest.updated_at_ns / 1e9,
            parts=len(ingest.parts),
            part_size=ingest.part_size,
            upload=ingest.upload_id,
            stored=tuple(await asyncio.to_thread(self._stored, ingest)),
            done=done,
            gc=await self._verdict(tenant, ref),
        )

    async def _tenants(self) -> list[str]:
        return [one.tenant for one in await self._ask.stale.tenants()]

    def _lease(self, lease: LeaseSeen) -> LeaseFacts:
        alive = None if self._alive is None else lease.owner in self._alive
        return LeaseFacts(lease.owner, lease.since_ns / 1e9, lease.ttl, alive)

    async def _verdict(self, tenant: str, ref: str) -> str:
        """Returns what a collection would do with an ingest now, by the collector's own code."""
        ages = self._ask.ages
        limits = StaleLimits.at(self._ask.now_ms(), ages)
        try:
            judged = await limits.judge(self._ask.stale, tenant, ref, change=False)
        except DataLoss:
            return "would drop it: what Redis has of it can't be read"
        hours = ages.ingest_lifetime / HOUR
        if judged.fate is StaleFate.FROZEN:
            return "would carry out its commit, which nobody is carrying out"
        if judged.fate is StaleFate.GONE:
            return f"would drop it: it hasn't moved for {hours:g} h, and nobody writes it"
        return f"would keep it: somebody writes it, or it has moved in the last {hours:g} h"

    def _stored(self, ingest: Ingest) -> list[ObjectFacts]:
        """Returns what the store has of an ingest. Blocking."""
        found = []
        if ingest.tail_key:
            found.append(self._tail(ingest))
        if ingest.upload_id:
            found.append(self._upload(ingest))
        entry = self._object(ingest.data_key)
        if entry is not None:
            found.append(entry)
        return found

    def _tail(self, ingest: Ingest) -> ObjectFacts:
        # A tail is listed, not asked for: programs without a right to read it may explain it.
        for entry in self._ask.store.list(ingest.tail_key):
            if entry.key == ingest.tail_key:
                return ObjectFacts(
                    entry.key, True, entry.size, ingest.tail_size, entry.last_modified
                )
        return ObjectFacts(ingest.tail_key, there=False, expected=ingest.tail_size)

    def _upload(self, ingest: Ingest) -> ObjectFacts:
        key, expected = f"{ingest.data_key} (upload)", sum(part.size for part in ingest.parts)
        try:
            parts = self._ask.store.list_parts(ingest.data_key, ingest.upload_id)
        except NoSuchUpload:
            return ObjectFacts(key, there=False, expected=expected)
        return ObjectFacts(key, True, sum(part.size for part in parts), expected)

    def _object(self, key: str) -> ObjectFacts | None:
        try:
            entry = self._ask.store.head(key)
        except NoSuchKey:
            return None
        return ObjectFacts(key, True, entry.size, stored_at=entry.last_modified)


def _digests(ingest: Ingest) -> list[str]:
    """Returns the digests that an ingest may become, the surest first."""
    found = [ingest.expected] if ingest.expected else []
    if ingest.frozen:
        with suppress(DataLoss, UnsupportedFormat):
            found.insert(0, str(FrozenCommit.decode(ingest).record.digest))
    named = ingest.ref.rpartition("-")[2].rpartition("@")[2]
    return [*found, named] if ":" in named else found


def _state(seen: RefSeen, lease: LeaseFacts | None) -> str:
    """Returns what becomes of a ref, in a few words."""
    by = ""
    if lease is not None:
        by = f", written through {lease.owner}"
        if lease.alive is False:
            by = f", locked by {lease.owner}, which announces nothing"
    if seen.damaged:
        return f"damaged{by}"
    if seen.ingest is None:
        return f"locked{by}" if lease else "committed lately"
    if seen.ingest.frozen:
        return f"its commit is frozen{by or ', and nobody has its lease'}"
    if seen.ingest.sealed:
        return f"complete, and not committed{by}"
    return f"open{by or ', and nobody writes it'}"


def _batches(tenants: Iterable[str]) -> Iterable[list[str]]:
    names = iter(tenants)
    while batch := list(islice(names, ABREAST)):
        yield batch
