"""Drops tenants that are gone without a Delete: marked missing at one look, dropped at a later one.

    existing, or seen recently                          → kept; a mark is removed
    neither, and not marked since it was last seen      → marked missing
    neither, and marked for less than the grace         → waits
    neither, and marked for longer                      → dropped: its holds are given up

All tenants are judged before anything is done: a run that would drop too many does nothing.
A mark names the sighting that preceded it. Every sighting differs from all earlier ones, so a
tenant that was seen after its mark isn't missing any more, even if nothing has removed the mark.
docs/tenants.md has the order of requests, and explains why it is safe.
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
from holdfast.service.tenants.brake import ExpiryPlan
from holdfast.service.tenants.gone import Gone
from holdfast.storage.port import ObjectStore
from holdfast.storage.sightings import Missing, Sightings
from holdfast.storage.tenants import Tenant, known_tenants

LEAST_GRACE: Final = 2 * (BELIEVED + LONGEST_ANSWER)
"""Fewest seconds between the two looks. Every tenant that was promised something was seen within
half of them; the other half is for differences between the clocks of the store's servers."""
GiveUp = Callable[[str, Gone], Awaitable[bool]]
"""Gives up all that a tenant has; returns False if the tenant came back meanwhile."""


class Verdict(StrEnum):
    """What an expiry decides about a tenant, or has done."""

    KEPT = "kept"
    FOUND = "found"
    MISSING = "missing"
    WAITING = "waiting"
    DROPPED = "dropped"
    RETURNED = "returned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rules:
    """Decides which tenants count as gone; all of the conditions that are set must be true.

    Attributes:
        grace: seconds from the first look to the one that drops.
        unseen_for: fewest seconds since the tenant was last seen; None: no condition.
        existing: names of existing tenants, which aren't gone; None: no condition.
        only: patterns of names, one of which must match; if there are none, all names match.
        keep: patterns of names that are never dropped.
    """

    grace: float
    unseen_for: float | None = None
    existing: frozenset[str] | None = None
    only: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def concern(self, tenant: str) -> bool:
        """Returns whether the rules apply to a tenant at all."""
        wanted = not self.only or any(fnmatchcase(tenant, pattern) for pattern in self.only)
        return wanted and not any(fnmatchcase(tenant, pattern) for pattern in self.keep)

    def lists(self, tenant: Tenant) -> bool:
        """Returns whether the list of existing tenants names a tenant, or there is no list."""
        return self.existing is None or tenant.name in self.existing

    def miss(self, tenant: Tenant, now: float) -> bool:
        """Returns whether a tenant seems to be gone; one that was never seen counts as unseen."""
        if self.existing is not None and self.lists(tenant):
            return False
        seen = tenant.sighted.seen
        return not (self.unseen_for and seen and now - seen.last_modified < self.unseen_for)

    def pause(self, tenant: Tenant) -> float:
        """Returns the seconds from the first look until the tenant is dropped."""
        if tenant.sighted.seen or not self.unseen_for:
            return self.grace
        # It isn't known when the tenant was last here, so the time counts from the first look.
        return max(self.grace, self.unseen_for)


@dataclass(frozen=True, slots=True)
class ExpiryOutcome:
    """What was done about a tenant, or would be.

    Attributes:
        tenant: the tenant's name.
        verdict: what was done.
        seen_at: when the tenant was last seen, in s since 1970; None: never.
        due_at: when a tenant that waits is dropped, in s since 1970.
        why: why it failed, if it did.
    """

    tenant: str
    verdict: Verdict
    seen_at: float | None
    due_at: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the look decided about a tenant."""

    tenant: Tenant
    verdict: Verdict
    due_at: float | None = None
    missing: Missing | None = None
    why: str = ""

    def outcome(self) -> ExpiryOutcome:
        """Returns the outcome to report, if the verdict is carried out."""
        seen = self.tenant.sighted.seen
        seen_at = seen.last_modified if seen else None
        return ExpiryOutcome(self.tenant.name, self.verdict, seen_at, self.due_at, self.why)


class Expiry:
    """One look at all tenants: it judges all of them first, and then acts."""

    def __init__(
        self,
        store: ObjectStore,
        sightings: Sightings,
        rules: Rules,
        give_up: GiveUp | None,
        *,
        accept: bool = False,
    ) -> None:
        """Looks at nothing yet.

        Args:
            store: the store that has the tenants.
            sightings: the sightings in the store.
            rules: decide which tenants are gone.
            give_up: drops a tenant; None: only report what would be done, and write nothing.
            accept: drop all that seem to be gone, however many they are.
        """
        self._store = store
        self._sightings = sightings
        self._rules = rules
        self._give_up = give_up
        self._accept = accept

    async def look(self) -> AsyncIterator[ExpiryOutcome]:
        """Yields what was done about each tenant that has holds, or would be.

        Raises:
            Unavailable: the store can't be listed.
            Braked: too many tenants seem to be gone, and nothing was done. A rehearsal raises
                it after the outcomes.
        """
        judged = [one async for one in self._judged()]
        plan = ExpiryPlan(
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

    async def _outcome(self, judged: _Judged) -> ExpiryOutcome:
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
                # The mark can't be read, so it couldn't be replaced either: remove it first.
                await asyncio.to_thread(self._sightings.find, tenant.name)
            token = tenant.sighted.token
            await asyncio.to_thread(self._sightings.miss, tenant.name, token, missing)
        elif judged.verdict is Verdict.DROPPED and missing and self._give_up:
            gone = Gone(self._sightings, tenant.name, missing.seen, missing.etag)
            if not await self._give_up(tenant.name, gone):
                return replace(judged, verdict=Verdict.RETURNED)
            await asyncio.to_thread(self._sightings.find, tenant.name)
        return judged
