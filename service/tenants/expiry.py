"""Tenants that are gone without a Delete: missed at one look, dropped at a later one.

    seen, or existing, or not yet unseen for long   → kept; is it marked missing: no more
    not so, and not marked since it was last seen   → marked missing
    marked, for less than the grace                 → waits
    marked, for longer                              → dropped: its holds are given up

All are looked at before anything is done: a run that would drop too many does nothing.
A mark names the sighting that it was made after. Every sighting differs from all before,
so whoever was seen in between isn't missing any more, whether or not anybody has noticed.
The order of requests, and why it is safe, stands in docs/tenants.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from holdfast.errors import HoldfastError, because
from holdfast.service.holdings.presence import BELIEVED, LONGEST_ANSWER
from holdfast.service.tenants.brake import Plan
from holdfast.service.tenants.gone import Gone
from holdfast.storage.port import ObjectStore
from holdfast.storage.sightings import Missing, Sightings
from holdfast.storage.tenants import Tenant, known_tenants

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

    def lists(self, tenant: Tenant) -> bool:
        """Whether a tenant exists, by a list of those who do, if there is one."""
        return self.existing is None or tenant.name in self.existing

    def miss(self, tenant: Tenant, now: float) -> bool:
        """Whether a tenant seems to be gone. One that was never seen was unseen for ever."""
        if self.existing is not None and self.lists(tenant):
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


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is to become of a tenant, as the look found it."""

    tenant: Tenant
    verdict: Verdict
    due_at: float | None = None
    missing: Missing | None = None
    why: str = ""

    def outcome(self) -> Outcome:
        """As it is told, if it becomes so."""
        seen = self.tenant.sighted.seen
        seen_at = seen.last_modified if seen else None
        return Outcome(self.tenant.name, self.verdict, seen_at, self.due_at, self.why)


class Expiry:
    """One look at all tenants: first all are judged, then something is done."""

    def __init__(
        self,
        store: ObjectStore,
        sightings: Sightings,
        rules: Rules,
        give_up: GiveUp | None,
        *,
        accept: bool = False,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            store: whose tenants they are.
            sightings: in the store.
            rules: who is gone.
            give_up: what drops one; None: only say what would be done, and write nothing.
            accept: drop however many seem to be gone.
        """
        self._store = store
        self._sightings = sightings
        self._rules = rules
        self._give_up = give_up
        self._accept = accept

    async def look(self) -> AsyncIterator[Outcome]:
        """What becomes of each tenant that has holds.

        Raises:
            Unavailable: the store can't be listed.
            Braked: too many seem to be gone, and nothing was done. In a rehearsal it comes
                after what would become of each.
        """
        judged = [one async for one in self._judged()]
        plan = Plan(
            tenants=len(judged),
            unlisted=sum(not self._rules.lists(one.tenant) for one in judged),
            dropped=sum(one.verdict is Verdict.DROPPED for one in judged),
        )
        braked = None if self._accept else plan.excess()
        if braked and self._give_up:
            raise braked
        for one in judged:
            yield await self._outcome(one) if self._give_up else one.outcome()
        if braked:
            raise braked

    async def _judged(self) -> AsyncIterator[_Judged]:
        tenants = known_tenants(self._store, self._sightings)
        while tenant := await asyncio.to_thread(next, tenants, None):
            if tenant.holds and self._rules.concern(tenant.name):
                try:
                    yield await self._judge(tenant)
                except HoldfastError as error:
                    yield _Judged(tenant, Verdict.FAILED, why=because(error))

    async def _judge(self, tenant: Tenant) -> _Judged:
        name, now = tenant.name, self._store.now()
        missing = None
        if tenant.sighted.missing:
            missing = await asyncio.to_thread(self._sightings.missing, name)
        if not self._rules.miss(tenant, now):
            verdict = Verdict.KEPT if missing is None else Verdict.FOUND
            return _Judged(tenant, verdict, missing=missing)
        if missing is None or missing.seen != tenant.sighted.token:
            due_at = now + self._rules.pause(tenant)
            return _Judged(tenant, Verdict.MISSING, due_at, missing)
        due_at = missing.at + self._rules.pause(tenant)
        if now < due_at:
            return _Judged(tenant, Verdict.WAITING, due_at, missing)
        return _Judged(tenant, Verdict.DROPPED, None, missing)

    async def _outcome(self, judged: _Judged) -> Outcome:
        try:
            done = await self._carry_out(judged)
        except HoldfastError as error:
            done = replace(judged, verdict=Verdict.FAILED, due_at=None, why=because(error))
        return done.outcome()

    async def _carry_out(self, judged: _Judged) -> _Judged:
        tenant, missing = judged.tenant, judged.missing
        if judged.verdict is Verdict.FOUND:
            await asyncio.to_thread(self._sightings.find, tenant.name)
        elif judged.verdict is Verdict.MISSING:
            if missing is None and tenant.sighted.missing:
                # It can't be read, so that nobody could ever replace it.
                await asyncio.to_thread(self._sightings.find, tenant.name)
            token = tenant.sighted.token
            await asyncio.to_thread(self._sightings.miss, tenant.name, token, missing)
        elif judged.verdict is Verdict.DROPPED and missing and self._give_up:
            gone = Gone(self._sightings, tenant.name, missing.seen, missing.etag)
            if not await self._give_up(tenant.name, gone):
                return replace(judged, verdict=Verdict.RETURNED)
            await asyncio.to_thread(self._sightings.find, tenant.name)
        return judged
