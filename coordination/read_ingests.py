"""Ingests as they are found: one, or all of a tenant in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from holdfast.coordination.client import Client
from holdfast.coordination.connection import translated
from holdfast.coordination.ingest import Ingest
from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Scripts, pairs, text, understood
from holdfast.origins import step

REFS: Final = 10_000
"""Refs whose names are read by one request: 10 MB if all are as long as allowed."""
STATUS_BATCH: Final = 200
"""Refs whose ingests are read by one request when all are listed."""


class ReadIngests:
    """The ingests of all tenants in one Redis, to be looked at."""

    def __init__(self, client: Client, scripts: Scripts) -> None:
        self._client = client
        self._scripts = scripts

    async def find(self, tenant: str, ref: str) -> Ingest | None:
        """An ingest as it is now, or None; `live` is as its writer reported it, if it has one."""
        found = await self._read(tenant, [ref])
        return found[0] if found else None

    async def find_all(self, tenant: str) -> list[Ingest]:
        """All ingests of a tenant, the least recently updated first."""
        return [ingest async for batch in self.each(tenant) for ingest in batch]

    async def each(self, tenant: str) -> AsyncIterator[list[Ingest]]:
        """All ingests of a tenant, in batches, the least recently updated first.

        If there are more than 10,000, one that is updated meanwhile may be missing, or come twice.

        Raises:
            Unavailable: Redis can't be reached.
        """
        rank = 0
        while True:
            with self._scripts.recorded("ingest"), step("Redis", "ZRANGE"):
                async with translated():
                    index = self._client.zrange(Keys(tenant).index, rank, rank + REFS - 1)
                    refs = [text(ref) for ref in await index]
            for start in range(0, len(refs), STATUS_BATCH):
                yield await self._read(tenant, refs[start : start + STATUS_BATCH])
            if len(refs) < REFS:
                return
            rank += REFS

    async def _read(self, tenant: str, refs: Sequence[str]) -> list[Ingest]:
        keys = Keys(tenant)
        names = [name for ref in refs for name in (keys.ingest(ref), keys.lease(ref))]
        replies = await self._scripts.run("find", names, [])
        with understood():
            return [
                _written_by(text(nonce), Ingest.decode(ref, pairs(stored)))
                for ref, stored, nonce in zip(refs, replies[::2], replies[1::2], strict=True)
                if stored
            ]


def _written_by(nonce: str, ingest: Ingest) -> Ingest:
    """The ingest as the stream with that lease writes it.

    If there is none, it is without bytes that its last writer received but didn't make durable.
    """
    if nonce or ingest.live == ingest.offset:
        return replace(ingest, nonce=nonce)
    return replace(ingest, live=ingest.offset)
