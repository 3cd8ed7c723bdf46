"""Tenants that are gone without a Delete: missed at one look, dropped at a later one.

    seen, or existing, or not yet unseen for long   → kept; is it marked missing: no more
    not so, and not marked since it was last seen   → marked missing
    marked, for less than the grace                 → waits
    marked, for longer                              → dropped: its holds are given up

A mark names the sighting that it was made after. Every sighting differs from all before,
so whoever was seen in between isn't missing any more, whether or not anybody has noticed.
The order of requests, and why it is safe, stands in docs/tenants.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from holdfast.errors import HoldfastError
from service.presence import BELIEVED, LONGEST_ANSWER
from service.tenants.gone import Gone
from storage.port import ObjectStore
from storage.sightings import Missing, Sightings
from storage.tenants import Tenant, known_tenants

LEAST_GRACE: Final = 2 * (BELIEVED + LONGEST_ANSWER)
"""Seconds between two looks at least: within half of it, whoever was promised something
was seen; the rest is for clocks of a store's servers that differ."""
GiveUp = Callable[[str, Gone], Awaitable[bool]]
"""Gives up what a tenant has; False if it came back meanwhile."""


class Verdict(StrEnum):
    """What becomes of a tenant."""

    KEPT = "kept"
    FOUND = "found"
    MISSING = "missing"
    WAITING = "waiting"
    DROPPED = "dropped"
    RETURNED = "returned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is taken for gone; what is asked for must all be true.

    Attributes:
        grace: seconds from the first look to the one that drops.
        unseen_for: seconds since the tenant was last seen; None: that isn't asked.
        existing: the names of those who exist; None: that isn't asked.
        only: patterns of names, of which one must match; none: all do.
        keep: patterns of names that are never dropped.
    """

    grace: float
    unseen_for: float | None = None
    existing: frozenset[str] | None = None
    only: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def concern(self, tenant: str) -> bool:
        """Whether a tenant is to be looked at at all."""
        wanted = not self.only or any(fnmatchcase(tenant, pattern) for pattern in self.only)
        return wanted and not any(fnmatchcase(tenant, pattern) for pattern in self.keep)

    def miss(self, tenant: Tenant, now: float) -> bool:
        """Whether a tenant seems to be gone. One that was never seen was unseen for ever."""
        if self.existing is not None and tenant.name in self.existing:
            return False
        seen = tenant.sighted.seen
        return not (self.unseen_for and seen and now - seen.last_modified < self.unseen_for)

    def pause(self, tenant: Tenant) -> float:
        """Seconds from the first look until the tenant is dropped."""
        if tenant.sighted.seen or not self.unseen_for:
            return self.grace
        # Nobody knows when it was last here; it counts from when it was first missed.
        return max(self.grace, self.unseen_for)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a tenant, or would.

    Attributes:
        tenant: who.
        verdict: what became of it.
        seen_at: when it was last seen, in s since 1970; None: never.
        due_at: of one that waits: when it is dropped.
        why: of one that failed.
    """

    tenant: str
    verdict: Verdict
    seen_at: float | None
    due_at: float | None = None
    why: str = ""


class Expiry:
    """One look at all tenants."""

    def __init__(
        self, store: ObjectStore, sightings: Sightings, rules: Rules, give_up: GiveUp | None
    ) -> None:
        """Nothing is looked at yet.

        Args:
            store: whose tenants they are.
            sightings: in the store.
            rules: who is gone.
            give_up: what drops one; None: only say what would be done, and write nothing.
        """
        self._store = store
        self._sightings = sightings
        self._rules = rules
        self._give_up = give_up

    async def look(self) -> AsyncIterator[Outcome]:
        """What becomes of each tenant that has holds.

        Raises:
            Unavailable: the store can't be listed.
        """
        tenants = known_tenants(self._store, self._sightings)
        while tenant := await asyncio.to_thread(next, tenants, None):
            if tenant.holds and self._rules.concern(tenant.name):
                yield await self._outcome(tenant)

    async def _outcome(self, tenant: Tenant) -> Outcome:
        seen = tenant.sighted.seen
        seen_at = seen.last_modified if seen else None
        try:
            verdict, due_at = await self._judge(tenant)
        except HoldfastError as error:
            return Outcome(tenant.name, Verdict.FAILED, seen_at, why=str(error))
        return Outcome(tenant.name, verdict, seen_at, due_at)

    async def _judge(self, tenant: Tenant) -> tuple[Verdict, float | None]:
        name, now = tenant.name, self._store.now()
        missing = None
        if tenant.sighted.missing:
            missing = await asyncio.to_thread(self._sightings.missing, name)
        if not self._rules.miss(tenant, now):
            return await self._keep(name, missing), None
        if missing is None or missing.seen != tenant.sighted.token:
            if self._give_up:
                if missing is None and tenant.sighted.missing:
                    # It can't be read, so that nobody could ever replace it.
                    await asyncio.to_thread(self._sightings.find, name)
                await asyncio.to_thread(self._sightings.miss, name, tenant.sighted.token, missing)
            return Verdict.MISSING, now + self._rules.pause(tenant)
        due_at = missing.at + self._rules.pause(tenant)
        if now < due_at:
            return Verdict.WAITING, due_at
        return await self._drop(name, missing), None

    async def _keep(self, tenant: str, missing: Missing | None) -> Verdict:
        if missing is None:
            return Verdict.KEPT
        if self._give_up:
            await asyncio.to_thread(self._sightings.find, tenant)
        return Verdict.FOUND

    async def _drop(self, tenant: str, missing: Missing) -> Verdict:
        if self._give_up:
            gone = Gone(self._sightings, tenant, missing.seen, missing.etag)
            if not await self._give_up(tenant, gone):
                return Verdict.RETURNED
            await asyncio.to_thread(self._sightings.find, tenant)
        return Verdict.DROPPED
