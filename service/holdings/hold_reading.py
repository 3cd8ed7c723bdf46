"""All that a tenant holds, read batch by batch, with as few requests as it takes.

    listed → in memory? → in the newest snapshot? → fetched

What is in memory or in a snapshot counts under the listed key and ETag alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, islice
from typing import Final

from holdfast.service.process.workers import Workers
from holdfast.storage.holds import Holds, Named
from holdfast.storage.port import Entry
from holdfast.storage.snapshots import Snapshot, Snapshots

Group = list[Entry]
"""What is below one digest."""
Loaded = list[Named]
Listed = tuple[Group, Loaded | None]
"""What is below one digest, and the holds among it if they are known."""
LIST_BATCH: Final = 100
"""Digests that are read at once, at most."""
LIST_BYTES: Final = 4 * 2**20
"""Bytes of holds that are read at once, if they are more than one digest's: a hold with all
labels that it may have is as large."""
PAGE: Final = 1000
"""Keys of one page of a listing; no snapshot is looked for where there are no more."""
FETCHED: Final = 16
"""Holds that are fetched before a snapshot is looked for: about as much as that costs itself."""


class HoldReading:
    """One reading of all that a tenant holds.

    Attributes:
        tenant: who.
        listed: digests so far.
        fetched: how many of them had to be fetched.
    """

    def __init__(
        self,
        tenant: str,
        holds: Holds,
        workers: Workers,
        snapshots: Snapshots | None = None,
        ended: Callable[[HoldReading], None] = lambda _: None,
        *,
        abreast: int = LIST_BATCH,
        page: int = PAGE,
    ) -> None:
        """Nothing is asked of the store yet.

        Args:
            tenant: whose holds are read.
            holds: where they are.
            workers: for what blocks.
            snapshots: of tenants' holds; None: what isn't in memory is fetched.
            ended: called by `end`.
            abreast: holds that are fetched at once.
            page: keys of one page of a listing.
        """
        self.tenant = tenant
        self.listed = 0
        self.fetched = 0
        self._holds = holds
        self._workers = workers
        self._snapshots = snapshots
        self._ended = ended
        self._gate = asyncio.Semaphore(abreast)
        self._page = page
        self._groups = self._ahead(holds.groups(tenant))
        self._large = False
        self._missed = 0
        self._snapshot: Snapshot | None = None

    @property
    def large(self) -> bool:
        """Whether there are more holds than a listing has on one page."""
        return self._large

    async def batches(self) -> AsyncIterator[list[Loaded]]:
        """The holds on each digest, some digests at a time, in order of digest.

        Raises:
            Unavailable: the store can't be reached.
            UnsupportedFormat: a hold is of a newer version.
        """
        while batch := await self._workers.store(self._next):
            yield await asyncio.gather(*map(self._load, batch))

    def end(self) -> None:
        """Says that nothing more is read, whether that was all or not."""
        self._ended(self)

    def _ahead(self, groups: Iterator[Group]) -> Iterator[Group]:
        first, left = [], self._page
        for group in groups:
            first.append(group)
            left -= len(group)
            if left < 0:
                self._large = True
                break
        yield from chain(first, groups)

    def _next(self) -> list[Listed]:
        batch = [(group, self._holds.remembered(group)) for group in _some(self._groups)]
        if missed := _unknown(batch):
            self._missed += missed
            if self._large and self._missed > FETCHED:
                batch = self._looked_up(batch)
        self.listed += len(batch)
        self.fetched += _unknown(batch)
        return batch

    def _looked_up(self, batch: list[Listed]) -> list[Listed]:
        if self._snapshots is not None:
            self._snapshot, self._snapshots = self._snapshots.newest(self.tenant), None
        if self._snapshot is None:
            return batch
        body = self._snapshot.body
        return [
            (group, self._holds.remembered(group, body) if known is None else known)
            for group, known in batch
        ]

    async def _load(self, listed: Listed) -> Loaded:
        group, known = listed
        if known is not None:
            return known
        async with self._gate:
            return await self._workers.store(self._holds.load_listed, group)


def _unknown(batch: list[Listed]) -> int:
    return sum(known is None for _, known in batch)


def _some(groups: Iterator[Group]) -> Iterator[Group]:
    """The next groups, as many as are read at once."""
    room = LIST_BYTES
    for group in islice(groups, LIST_BATCH):
        yield group
        room -= sum(entry.size for entry in group)
        if room <= 0:
            return
