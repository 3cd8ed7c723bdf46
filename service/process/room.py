"""Keeps the store's reserve, and notices when others have had to use it."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holdfast.errors import HoldfastError, because
from holdfast.storage.reserve import Reserve

log = structlog.get_logger(__name__)

INTERVAL: Final = 30.0
"""Seconds between two looks, each of which is a small listing. Between looks, others may still
write new bytes into the room that one piece of the reserve has freed; there are more pieces."""


async def attend(reserve: Reserve, interval: float = INTERVAL) -> None:
    """Replaces missing pieces of the reserve, in a loop, and logs when the store is full.

    Args:
        reserve: the reserve of the store that is served.
        interval: seconds between two looks.
    """
    short = False
    while True:
        try:
            await asyncio.to_thread(reserve.keep)
        except HoldfastError as error:
            log.debug("reserve not checked; it will be retried", reason=because(error))
        if reserve.short != short:
            short = reserve.short
            if short:
                log.warning("store full; the reserve is left for Delete and gc")
            else:
                log.info("store has room again")
        await asyncio.sleep(interval)
