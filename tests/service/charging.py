"""Charges of tenants without bounds, for what is put together without a frontend."""

from __future__ import annotations

from typing import Any, cast

from holdfast.service.holdings.charges import Charges
from holdfast.service.holdings.quotas import Quota, Quotas


def uncharged() -> Charges:
    """Charges nobody, and needs neither Redis nor a store."""
    nothing = cast("Any", None)
    return Charges(nothing, Quotas(Quota()), nothing, lambda _: None)
