"""Charges of tenants without bounds, for what is put together without a frontend."""

from __future__ import annotations

from typing import Any, cast

from holdfast.service.holdings.charges import Charges
from holdfast.service.holdings.fleet_bound import FleetBound
from holdfast.service.holdings.quotas import Quota, Quotas


def uncharged() -> Charges:
    """Charges nobody, and needs neither Redis nor a store."""
    nothing = cast("Any", None)
    quotas = Quotas(Quota())
    fleet = FleetBound(quotas, nothing, nothing, lambda _: None, lambda: 0.0)
    return Charges(nothing, quotas, nothing, fleet, lambda _: None)
