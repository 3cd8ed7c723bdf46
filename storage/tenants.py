"""Who has holds, by the holds alone: one short listing for each tenant, not all its holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from storage.keys import HOLDS
from storage.port import ObjectStore

AFTER_SLASH: Final = chr(ord("/") + 1)
"""What follows all keys below a folder."""


def holding_tenants(store: ObjectStore) -> Iterator[str]:
    """The tenants that have a hold, in order.

    Whoever had a confirmed hold before this began, and has it still, is among them.
    """
    after = ""
    while True:
        entry = next(iter(store.list(HOLDS, after)), None)
        if entry is None:
            return
        tenant, slash, _ = entry.key.removeprefix(HOLDS).partition("/")
        if slash:
            yield tenant
        after = f"{HOLDS}{tenant}{AFTER_SLASH}" if slash else entry.key
