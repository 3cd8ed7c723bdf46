"""Tenants that are near their quotas, as Redis has counted what they hold; for `doctor`."""

from __future__ import annotations

from itertools import chain, islice
from typing import Final

from holdfast.checks import Check
from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.keys import TENANTS
from holdfast.coordination.ledger import Ledger
from holdfast.coordination.scripts import Scripts, text
from holdfast.errors import ConfigurationError, because
from holdfast.service.holdings.quota_file import quotas_in_force
from holdfast.service.settings import Settings

NEAR: Final = 0.9
"""The share of a quota from which on a tenant is near it."""
ASKED: Final = 1000
"""Tenants that are looked at: those that have ingests or had some lately, and those of the file."""
SHOWN: Final = 5
"""Tenants that the check names."""


async def nearness(settings: Settings, client: Client) -> list[Check]:
    """Checks whether tenants are near their quotas; without quotas there is nothing to check.

    Raises:
        Unavailable: Redis can't be reached.
    """
    try:
        quotas = quotas_in_force(settings)
    except ConfigurationError as error:
        advice = "correct the file: frontends refuse to start with it"
        return [Check("quotas", ok=False, essential=True, found=because(error), advice=advice)]
    if not any(quota.charged for quota in (quotas.default, *quotas.named.values())):
        return []
    async with translated():
        active = map(text, await client.zrange(TENANTS, 0, ASKED - 1))
    ledger, near = Ledger(Scripts(client)), []
    for tenant in islice(dict.fromkeys(chain(quotas.named, active)), ASKED):
        quota = quotas.of(tenant)
        if not quota.charged:
            continue
        _, use = await ledger.find(tenant)
        shares = [
            used / most
            for used, most in ((use.bytes, quota.bytes), (use.digests, quota.holds))
            if most is not None
        ]
        if max(shares) >= NEAR:
            near.append(f"{tenant} at {100 * max(shares):.0f} %")
    if not near:
        return [Check("quotas", ok=True, essential=False, found="no tenant is near its quota")]
    more = f" and {len(near) - SHOWN} more" if len(near) > SHOWN else ""
    found = f"near their quotas: {', '.join(near[:SHOWN])}{more}"
    advice = "raise the quotas, or delete what these tenants don't need: `holdfast tenants list`"
    return [Check("quotas", ok=False, essential=False, found=found, advice=advice)]
