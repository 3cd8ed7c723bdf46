"""Bounds that contradict each other, or that nobody can live with; for `doctor`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from holdfast.checks import Check
from holdfast.errors import ConfigurationError
from holdfast.service.holdings.quota_file import quotas_in_force
from holdfast.service.holdings.quotas import Quota, Quotas
from holdfast.service.settings import Settings
from holdfast.storage.held import FleetHeld
from holdfast.storage.port import ObjectStore

NEAR: Final = 0.9
"""The share of the fleet's bound from which on the fleet is near it."""
OLD: Final = 2 * 24 * 3600.0
"""Seconds after which a count of the fleet is old: collections are meant to run every day."""
LAYER: Final = 2**30
"""Bytes of a large layer of an image, which every tenant should be able to write."""
SHOWN: Final = 5
"""Contradictions that the check names."""


def bound_checks(settings: Settings) -> Iterator[Check]:
    """Checks whether the bounds of tenants and of the fleet fit each other."""
    try:
        quotas = quotas_in_force(settings)
    except ConfigurationError:
        return  # the check of the quotas reports it
    found = list(contradictions(quotas, settings))
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield Check(
            "bounds",
            ok=False,
            essential=False,
            found="; ".join(found[:SHOWN]) + more,
            advice="correct these; sizes and rates without a unit are in bytes (docs/quotas.md)",
        )
    elif quotas.fleet or quotas.named or quotas.default.charged:
        yield Check("bounds", ok=True, essential=False, found="they fit each other")


def contradictions(quotas: Quotas, settings: Settings) -> Iterator[str]:
    """Yields what is wrong with bounds, in words."""
    for who, quota in (("each tenant", quotas.default), *quotas.named.items()):
        yield from _of(who, quota, quotas.fleet, settings)


def _of(who: str, quota: Quota, fleet: int | None, settings: Settings) -> Iterator[str]:
    if fleet and quota.bytes and quota.bytes > fleet:
        yield f"{who} may hold {quota.bytes} bytes, and all together only {fleet}"
    unset = Settings.model_fields["tenant_ingest_bytes"].default
    if quota.ingest_bytes and quota.ingest_bytes != unset:
        if quota.ingest_bytes < settings.part_size:
            yield (
                f"{who} may have {quota.ingest_bytes} bytes under way, which is less than one part "
                f"({settings.part_size})"
            )
        if quota.bytes and quota.ingest_bytes > quota.bytes:
            yield (
                f"{who} may have {quota.ingest_bytes} bytes under way, and hold only {quota.bytes}"
            )
        elif fleet and quota.ingest_bytes > fleet:
            yield (
                f"{who} may have {quota.ingest_bytes} bytes under way, and all together may hold "
                f"only {fleet}"
            )
    if quota.write_rate and LAYER / quota.write_rate > settings.ingest_lifetime:
        yield (
            f"{who} may write {quota.write_rate} bytes per second: a layer of 1 GiB takes "
            f"{LAYER / quota.write_rate:.0f} s, and is dropped after {settings.ingest_lifetime:.0f}"
        )


def fleet_check(settings: Settings, store: ObjectStore) -> Iterator[Check]:
    """Checks whether the fleet's bound is in force, and whether the fleet is near it. Blocking.

    Raises:
        HoldfastError: the store can't be asked, or what it says is damaged.
    """
    try:
        bound = quotas_in_force(settings).fleet
    except ConfigurationError:
        return
    if not bound:
        return
    held = FleetHeld.read(store)
    if held is None:
        found, advice = "no collection has counted the fleet yet", "run `holdfast gc`"
        yield Check("fleet's bound", ok=False, essential=False, found=found, advice=advice)
        return
    age = max(0.0, time.time() - held.at)
    found = f"{held.size} of {bound} bytes, counted {age / 3600:.0f} hours ago"
    if age > OLD:
        advice = "let a collection run every day: until then, deletes give no room"
    else:
        advice = "raise FLEET_BYTES, or delete what isn't needed: `holdfast tenants list`"
    well = age <= OLD and held.size < NEAR * bound
    yield Check(
        "fleet's bound", ok=well, essential=False, found=found, advice=advice if not well else ""
    )
