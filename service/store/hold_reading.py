"""Reads all that a tenant holds, batch by batch, with as few requests as possible.

    listed → in memory? → in the newest snapshot? → fetched

A hold in memory or in a snapshot is used only if it has the listed key and ETag.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final

from holdfast.service.process.workers import Workers
from holdfast.storage.holds import Holds, StoredHold, merged
from holdfast.storage.port import Entry
from holdfast.storage.snapshots import Snapshot, Snapshots
from holdfast.values import Info

Group = list[Entry]
"""The listed entries below one digest."""
Loaded = list[StoredHold]
Listed = tuple[Group, Loaded | None]
"""The listed entries below one digest, and the holds among them if they are known."""
LIST_BATCH: Final = 100
"""Most digests that are read concurrently."""
LIST_BYTES: Final = 4 * 2**20
"""Bytes of holds after which a batch takes no further digest: as large as one hold with the most
labels that it may have."""
PAGE: Final = 1000
"""Keys on one page of a listing; for a tenant with no more, no snapshot is looked for."""
FETCHED: Final = 16
"""Holds that are fetched before a snapshot is looked for: about as expensive as the snapshot."""


class HoldReading:
    """One reading of all that a tenant holds.

    Attributes:
        tenant: whose holds are read.
        listed: how many digests were listed so far.
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
        """Asks the store for nothing yet.

        Args:
            tenant: whose holds are read.
            holds: the holds of the store.
            workers: run blocking calls.
            snapshots: of tenants' holds; None: fetch every hold that isn't in memory.
            ended: called by `end`.
            abreast: how many digests' holds are fetched concurrently.
            page: keys on one page of a listing.
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
        """Whether there are more entries than fit on one page of a listing."""
        return self._large

    async def batches(self) -> AsyncIterator[list[Loaded]]:
        """Yields the holds on each digest, some digests at a time, in order of digest.

        Raises:
            Unavailable: the store can't be reached.
            UnsupportedFormat: a hold has a newer format version.
        """
        while batch := await self._workers.store(self._next):
            yield await asyncio.gather(*map(self._load, batch))

    async def matching(self, matches: Callable[[Info], bool]) -> AsyncIterator[list[Info]]:
        """Yields what is held and matches, in batches, in order of digest; none of them is empty.

        Raises:
            as `batches`.
        """

        def chosen(loaded: Iterable[Loaded]) -> list[Info]:
            # In a thread: clients choose the patterns, so matching may take a while.
            return [info for info in map(merged, filter(None, loaded)) if matches(info)]

        async for loaded in self.batches():
            if found := await self._workers.store(chosen, loaded):
                yield found

    def end(self) -> None:
        """Ends the reading, whether all was read or not."""
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
    """Yields the groups of the next batch."""
    room = LIST_BYTES
    for group in islice(groups, LIST_BATCH):
        yield group
        room -= sum(entry.size for entry in group)
        if room <= 0:
            return
