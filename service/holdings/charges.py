"""Quota on what tenants hold: who gains a hold is charged for it first, or refused.

    charged → hold made → settled          a commit, or an Info that adopts
    charge found → holds deleted → ended   a Delete

Tenants without such a bound are never charged, and cost nothing. Whatever a tenant is charged for
already it may gain again, so that damaged content is healed at the bound, too. If Redis can't be
reached, an Info adopts all the same, since it needs no Redis otherwise; the next count finds that
hold.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from holdfast.coordination.ledger import Ledger, Use
from holdfast.digests import Digest
from holdfast.errors import (
    AlreadyExists,
    HoldfastError,
    Overloaded,
    ResourceExhausted,
    Unavailable,
    because,
)
from holdfast.service.holdings.counts import HoldCounts
from holdfast.service.holdings.fleet_bound import FleetBound
from holdfast.service.holdings.quotas import Quota, Quotas

log = structlog.get_logger(__name__)

COUNTED: Final = 24 * 3600.0
"""Seconds after which a tenant that gains something is counted again."""
RECOUNTED: Final = 300.0
"""Seconds after which it is counted again before a refusal is final: what crashed commits have
left may be all that is in the way."""
RECOUNT_PAUSE: Final = 5.0
"""Seconds after which a client whose tenant is being counted should try again."""
AHEAD: Final = 64 * 2**20
"""Bytes that an ingest without a declared total may grow before its tenant's use is read again."""


class Charges:
    """Charges the tenants of one frontend.

    Attributes:
        fleet: the bound on what all tenants hold together.
    """

    def __init__(
        self,
        ledger: Ledger,
        quotas: Quotas,
        counts: HoldCounts,
        fleet: FleetBound,
        refused: Callable[[str], None],
    ) -> None:
        """Charges nobody yet.

        Args:
            ledger: what tenants are charged for.
            quotas: of tenants.
            counts: counts what tenants hold.
            fleet: the bound on what all tenants hold together.
            refused: counts refusals, by the name of the bound.
        """
        self._ledger = ledger
        self._quotas = quotas
        self._counts = counts
        self.fleet = fleet
        self._refused = refused

    def quota(self, tenant: str) -> Quota:
        """Returns what a tenant may use at most."""
        return self._quotas.of(tenant)

    def refused(self, bound: str) -> None:
        """Counts a refusal by a bound that isn't checked here."""
        self._refused(bound)

    def bounded(self, tenant: str) -> bool:
        """Returns whether what a tenant holds is bounded."""
        return self._quotas.of(tenant).charged

    # -- gaining

    @asynccontextmanager
    async def gaining(
        self,
        tenant: str,
        digest: Digest,
        size: int,
        *,
        regardless: bool = False,
        needs_redis: bool = True,
    ) -> AsyncIterator[None]:
        """Surrounds what makes a tenant hold a digest.

        If that fails, the charge stays until the tenant's holds are counted: a hold may be there,
        or come late.

        Args:
            tenant: who gains it.
            digest: what.
            size: its bytes.
            regardless: whether it was admitted before, so that no bound applies.
            needs_redis: whether nobody may gain anything while Redis can't be reached.

        Raises:
            ResourceExhausted: a bound would be exceeded; nothing may be made.
            Unavailable: Redis can't be reached, and `needs_redis`.
        """
        charged = False
        if self.bounded(tenant):
            try:
                await self._charge(tenant, digest, size, regardless=regardless)
                charged = True
            except Unavailable as error:
                if needs_redis:
                    raise
                log.debug("hold not charged; a count will", tenant=tenant, reason=because(error))
        try:
            yield
        except AlreadyExists:
            await self._settle(tenant, digest, charged=charged)
            raise
        await self._settle(tenant, digest, charged=charged)

    async def _charge(self, tenant: str, digest: Digest, size: int, *, regardless: bool) -> None:
        quota = Quota() if regardless else self._quotas.of(tenant)
        charged, use = await self._ledger.charge(
            tenant, digest, size, most_bytes=quota.bytes, most_digests=quota.holds
        )
        if use.age >= COUNTED and not regardless:
            self._counts.begin(tenant)
        if not charged:
            raise self._refusal(tenant, quota, use, size)

    async def _settle(self, tenant: str, digest: Digest, *, charged: bool) -> None:
        if not charged:
            return
        try:
            await self._ledger.settle(tenant, digest)
        except HoldfastError as error:
            log.debug(
                "charge not settled; the next count does it", tenant=tenant, reason=because(error)
            )

    async def fits(self, tenant: str, digest: Digest | None, size: int) -> int:
        """Checks, before bytes are stored, that a tenant may gain a blob; returns how large a one.

        Nothing is charged, so what other streams gain meanwhile isn't considered.

        Args:
            tenant: who writes it.
            digest: which, if that is declared.
            size: its bytes so far, or those that were declared.

        Raises:
            ResourceExhausted: a bound would be exceeded.
            Unavailable: Redis can't be reached.
        """
        quota = self._quotas.of(tenant)
        if not quota.charged:
            return sys.maxsize
        charge, use = await self._ledger.find(tenant, digest)
        if charge:
            return sys.maxsize
        if use.age >= COUNTED:
            self._counts.begin(tenant)
        too_many = quota.holds is not None and use.digests >= quota.holds
        room = sys.maxsize if quota.bytes is None else quota.bytes - use.bytes
        if too_many or size > room:
            raise self._refusal(tenant, quota, use, size)
        return min(room, size + AHEAD)

    def _refusal(self, tenant: str, quota: Quota, use: Use, size: int) -> ResourceExhausted:
        if quota.holds is not None and use.digests >= quota.holds:
            name, reason = "holds", f"holds {use.digests} digests, of {quota.holds} that it may"
        else:
            name = "bytes"
            reason = (
                f"holds {use.bytes} bytes, of {quota.bytes} that it may, and {size} more don't fit"
            )
        self._refused(name)
        if use.age >= RECOUNTED:
            self._counts.begin(tenant)
            return Overloaded(
                f"tenant {tenant} {reason}; its holds are being counted: try again in "
                f"{RECOUNT_PAUSE:g} s",
                RECOUNT_PAUSE,
            )
        return ResourceExhausted(
            f"tenant {tenant} {reason}; delete what it doesn't need, or raise the bound"
        )

    # -- losing

    async def found(self, tenant: str, digest: Digest) -> str | None:
        """Returns what `ended` needs, before a tenant's holds are listed and deleted.

        Raises:
            Unavailable: Redis can't be reached.
        """
        if not self.bounded(tenant):
            return None
        charge, _ = await self._ledger.find(tenant, digest)
        return charge

    async def ended(self, tenant: str, digest: Digest, charge: str | None) -> None:
        """Ends the charge for what a tenant has deleted; the deletion counts even if that fails."""
        if charge is None:
            return
        try:
            await self._ledger.end(tenant, digest, charge)
        except HoldfastError as error:
            log.debug(
                "charge not ended; the next count does it", tenant=tenant, reason=because(error)
            )
