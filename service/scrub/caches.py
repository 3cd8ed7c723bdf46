"""Makes frontends forget what they remember of holds, when content is quarantined.

The record is marked first; then a walk goes over all tenants that have holds. A frontend that
fills an entry has looked up `gen`, then seen a confirmed hold, and then seen the record live, so
all of that was before the mark. The walk begins after the mark, so it meets the tenant, and raises
the tenant's `gen` after that look-up: the entry is refused, or void.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from typing import Final

import structlog

from holdfast.coordination.connection import open_client
from holdfast.coordination.hold_cache import HoldCache
from holdfast.coordination.scripts import Scripts
from holdfast.errors import HoldfastError, Unavailable, because
from holdfast.storage.port import ObjectStore
from holdfast.storage.tenants import holding_tenants

log = structlog.get_logger(__name__)

EVERY: Final = 30.0
"""Seconds between two walks: as long as a frontend trusts a record that it has read."""


class Caches:
    """Makes frontends forget quarantined content in time. Safe for many threads."""

    def __init__(
        self, forget: Callable[[], None], clock: Callable[[], float], *, late: bool = False
    ) -> None:
        """Begins with nothing quarantined, except by an earlier run if it is `late`.

        Args:
            forget: makes all frontends forget what tenants hold; raises Unavailable.
            clock: monotonic, in s.
            late: whether an earlier run has left this undone.
        """
        self._forget = forget
        self._clock = clock
        self._outdated = late
        self._failed = False
        self._walking = threading.Lock()
        self._due_at = clock() + EVERY

    @property
    def late(self) -> bool:
        """Whether frontends may still remember quarantined content."""
        return self._outdated

    def outdated(self) -> None:
        """Notes that something was quarantined."""
        self._outdated = True

    def refresh_if_due(self) -> None:
        """Makes frontends forget, if that is due; never waits for another thread."""
        if not self._outdated or self._clock() < self._due_at:
            return
        if self._walking.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._walking.release()

    def refresh(self) -> None:
        """Makes frontends forget what was quarantined so far, if Redis can be reached."""
        with self._walking:
            self._refresh()

    def _refresh(self) -> None:
        if not self._outdated:
            return
        # What is quarantined during the walk needs another walk.
        self._outdated = False
        try:
            self._forget()
        except Unavailable as error:
            self._outdated = True
            if not self._failed:
                log.warning(
                    "caches not cleared; the next mark or scrub clears them", reason=because(error)
                )
            self._failed = True
        except HoldfastError:
            self._outdated = True
            raise
        else:
            self._failed = False
        self._due_at = self._clock() + EVERY


def forget_holds(store: ObjectStore, redis_url: str) -> None:
    """Makes all frontends forget what any tenant holds, which only costs cache misses.

    Raises:
        Unavailable: Redis or the store can't be reached.
    """
    asyncio.run(_forget(store, redis_url))


async def _forget(store: ObjectStore, redis_url: str) -> None:
    client = open_client(redis_url)
    try:
        cache = HoldCache(Scripts(client), lambda: secrets.token_hex(8))
        for tenant in holding_tenants(store):
            await cache.void(tenant)
    finally:
        await client.aclose()
