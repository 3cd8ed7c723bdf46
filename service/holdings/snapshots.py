"""Writes snapshots of what tenants hold, in the background, after a List had to fetch many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from holdfast.errors import HoldfastError, because
from holdfast.service.process.background import Background, end
from holdfast.service.store.hold_reading import HoldReading
from holdfast.service.store.holds import AsyncHolds
from holdfast.service.store.snapshots import AsyncSnapshots, AsyncWriting

log = structlog.get_logger(__name__)

LEAST: Final = 300
"""Fewest digests that a List must have fetched for a snapshot to be worth writing."""
SHARE: Final = 10
"""The List must also have fetched one in this many of the digests that it listed, at least. It
found the others in memory or in the last snapshot."""
PAUSE: Final = 600.0
"""Fewest seconds between two snapshots of one tenant's holds."""
ABREAST: Final = 8
"""Digests whose holds are fetched concurrently: in the background, a quarter of the threads by
default."""


class SnapshotKeeper:
    """The snapshots that one frontend writes, one at a time."""

    def __init__(
        self,
        snapshots: AsyncSnapshots,
        holds: AsyncHolds,
        background: Background,
        clock: Callable[[], float],
    ) -> None:
        """Writes nothing yet.

        Args:
            snapshots: the snapshots in the store.
            holds: the holds in the store.
            background: runs the writing.
            clock: in s, never set back.
        """
        self._snapshots = snapshots
        self._holds = holds
        self._background = background
        self._clock = clock
        self._begun: dict[str, float] = {}
        self._under_way: asyncio.Task[bool] | None = None

    def reading(self, tenant: str) -> HoldReading:
        """Returns a reading for a List; when it ends, it decides whether a snapshot is written."""
        return self._holds.reading(tenant, self._consider)

    def _consider(self, reading: HoldReading) -> None:
        if not reading.large or reading.fetched < max(LEAST, reading.listed / SHARE):
            return
        if self._under_way is not None and not self._under_way.done():
            return
        now = self._clock()
        self._begun = {name: at for name, at in self._begun.items() if now - at < PAUSE}
        if reading.tenant not in self._begun:
            self._begun[reading.tenant] = now
            self._under_way = self._background.start(self.write(reading.tenant))

    async def write(self, tenant: str) -> bool:
        """Writes a snapshot of all that a tenant holds; False if the store fails.

        It reads all holds again, without a deadline: the client of the List may have gone away.
        The holds that the List has fetched are in memory, as far as they fit.
        """
        writing = None
        try:
            writing = await self._snapshots.begin(tenant)
            reading = self._holds.reading(tenant, abreast=ABREAST)
            async for loaded in reading.batches():
                found = [named for holds in loaded for named in holds]
                await writing.add(found)
            await writing.finish()
        except HoldfastError as error:
            log.debug("snapshot of holds not written", tenant=tenant, reason=because(error))
            if writing is not None:
                await self._give_up(writing)
            return False
        return True

    async def _give_up(self, writing: AsyncWriting) -> None:
        with suppress(HoldfastError):  # a collector removes the rest
            await writing.give_up()

    async def close(self) -> None:
        """Cancels the snapshot under way, which isn't worth waiting for."""
        if self._under_way is not None:
            await end([self._under_way])
